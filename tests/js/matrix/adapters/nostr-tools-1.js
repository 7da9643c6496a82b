import { relayInit } from 'nostr-tools-1'
import { proof, sleep } from '../events.js'

// This version leaves AUTH and CLOSED to the app: what follows is what its readme shows.
export async function open(url, me) {
  const relay = relayInit(url)
  let known
  relay.on('auth', challenge => { known = me && relay.auth(me.sign(proof(url, challenge))) })
  await relay.connect()
  const subscribe = (filter, onevent) => new Promise(resolve => {
    const sub = relay.sub([filter])
    sub.on('event', onevent)
    sub.on('eose', () => resolve(() => sub.unsub()))
  })
  const authenticated = async () => {
    while (!known) await sleep(20)
    await known
  }
  return {
    publish: event => relay.publish(event),
    /** Answers the challenge that a refusal comes with, and tries again. */
    publishAfterAuth: async event => {
      await relay.publish(event).catch(() => {})
      await authenticated()
      await relay.publish(event)
    },
    query: async filter => {
      const events = []
      const end = await subscribe(filter, event => events.push(event))
      end()
      return events
    },
    subscribe,
    /** Asks, answers the challenge that comes, and asks again. */
    queryAfterAuth: async filter => {
      relay.sub([filter])
      await authenticated()
      return relay.list([filter])
    },
    subscribeAfterAuth: async (filter, onevent) => {
      relay.sub([filter])
      await authenticated()
      return subscribe(filter, onevent)
    },
    count: async filter => (await relay.count([filter])).count,
    close: () => relay.close()
  }
}
