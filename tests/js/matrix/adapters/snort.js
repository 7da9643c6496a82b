import '../bundler.js'
import { sleep } from '../events.js'

const { NostrSystem, RequestBuilder } = await import('@snort/system')

let requests = 0

export async function open(url, me) {
  const system = new NostrSystem({ automaticOutboxModel: false, buildFollowGraph: false })
  system.on('auth', (challenge, relay, answer) => {
    if (me) answer(me.sign({ kind: 22242, tags: [['relay', relay], ['challenge', challenge]] }))
  })
  await system.ConnectToRelay(url, { read: true, write: true })
  const ask = (filter, options) => {
    const request = new RequestBuilder('r' + requests++).withOptions({ skipCache: true, ...options })
    request.withBareFilter(filter).relay(url)
    return request
  }
  const publish = async event => {
    const [{ ok, message }] = await system.BroadcastEvent(event)
    if (!ok) throw new Error(message)
  }
  const query = filter => system.Fetch(ask(filter))
  const subscribe = (filter, onevent) => new Promise(resolve => {
    const query = system.Query(ask(filter, { leaveOpen: true }))
    query.on('event', events => events.forEach(onevent))
    query.on('eose', () => resolve(() => query.cancel()))
    query.uncancel()
    query.start()
  })
  return {
    publish,
    /** It answers a challenge only once it has asked for private kinds. */
    publishAfterAuth: async event => {
      await system.Fetch(ask({ kinds: [1059], '#p': [me.pubkey] }))
      await publish(event)
    },
    query,
    subscribe,
    // CLOSED makes it forget a request, so nothing is left to send again once it has authenticated: the app asks twice.
    queryAfterAuth: async filter => {
      await query(filter)
      await sleep(500)
      return query(filter)
    },
    subscribeAfterAuth: async (filter, onevent) => {
      await query(filter)
      await sleep(500)
      return subscribe(filter, onevent)
    },
    close: () => system.DisconnectRelay(url)
  }
}
