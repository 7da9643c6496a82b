import { NRelay1 } from '@nostrify/nostrify'
import { proof } from '../events.js'

export function open(url, me) {
  const relay = new NRelay1(url, { auth: me && (async challenge => me.sign(proof(url, challenge))) })
  return {
    publish: event => relay.event(event),
    query: filter => relay.query([filter]),
    subscribe: (filter, onevent) => new Promise((resolve, reject) => {
      const stop = new AbortController()
      const listen = async () => {
        // It answers `auth-required` once for a subscription. After it has connected again the stream ends, and the app asks anew.
        while (!stop.signal.aborted) {
          for await (const message of relay.req([filter], { signal: stop.signal })) {
            if (message[0] === 'EVENT') onevent(message[2])
            if (message[0] === 'EOSE') resolve(() => stop.abort())
          }
        }
      }
      listen().catch(reject)
    }),
    count: async filter => (await relay.count([filter])).count,
    close: () => relay.close()
  }
}
