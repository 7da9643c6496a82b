import { defaultSocketPolicies, diff, makeSocketPolicyAuth, Pool, PublishStatus, publishOne, request, Socket } from '@welshman/net'

export function open(url, me) {
  const auth = makeSocketPolicyAuth({ sign: template => Promise.resolve(me.sign(template)) })
  const policies = me ? [...defaultSocketPolicies, auth] : defaultSocketPolicies
  const pool = new Pool({ makeSocket: url => new Socket(url, policies) })
  const context = { pool }
  return {
    publish: async event => {
      const { status, detail } = await publishOne({ event, relay: url, context })
      if (status !== PublishStatus.Success) throw new Error(`${status}: ${detail}`)
    },
    query: filter => request({ relays: [url], filters: [filter], autoClose: true, context }),
    subscribe: (filter, onevent) => new Promise(resolve => {
      const stop = new AbortController()
      const onEose = () => resolve(() => stop.abort())
      request({ relays: [url], filters: [filter], onEvent: onevent, onEose, signal: stop.signal, context })
    }),
    missing: async (filter, have) => {
      const [{ need }] = await diff({ relays: [url], filters: [filter], events: have, context })
      return need
    },
    close: () => pool.clear()
  }
}
