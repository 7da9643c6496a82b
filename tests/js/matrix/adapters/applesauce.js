import { Relay } from 'applesauce-relay'

export function open(url, me) {
  const relay = new Relay(url)
  if (me) {
    const signer = { getPublicKey: async () => me.pubkey, signEvent: async template => me.sign(template) }
    relay.challenge$.subscribe(challenge => challenge && relay.authenticate(signer).catch(() => {}))
  }
  const collect = observable => new Promise((resolve, reject) => {
    const events = []
    observable.subscribe({ next: event => events.push(event), complete: () => resolve(events), error: reject })
  })
  return {
    publish: async event => {
      const { ok, message } = await relay.publish(event)
      if (!ok) throw new Error(message)
    },
    query: filter => collect(relay.request(filter)),
    subscribe: (filter, onevent) => new Promise((resolve, reject) => {
      const sub = relay.subscription(filter, { reconnect: 20, resubscribe: true }).subscribe({
        next: event => event === 'EOSE' ? resolve(() => sub.unsubscribe()) : onevent(event),
        error: reject
      })
    }),
    count: filter => new Promise((resolve, reject) => {
      relay.count(filter).subscribe({ next: answer => resolve(answer.count), error: reject })
    }),
    missing: async (filter, have) => (await collect(relay.sync(have, filter))).map(event => event.id),
    close: () => relay.close()
  }
}
