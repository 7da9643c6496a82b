import { RelayPool } from 'nostr-relaypool'
import { proof, sleep } from '../events.js'

export function open(url, me) {
  const pool = new RelayPool([url], { autoReconnect: true, logErrorsAndNotices: false })
  const relay = pool.relayByUrl.get(url)
  // AUTH and CLOSED are left to the app: it answers each challenge and asks again for what is private.
  let known
  const again = []
  pool.onauth((relay, challenge) => {
    known = me && new Promise(resolve => { relay.auth(me.sign(proof(url, challenge))).on('ok', resolve) })
    known?.then(() => again.forEach(ask => ask()))
  })
  const subscribe = (filter, onevent) => new Promise(resolve => {
    const end = pool.subscribe([filter], [url], onevent, undefined, () => resolve(end))
  })
  const query = async filter => {
    const events = []
    const end = await subscribe(filter, event => events.push(event))
    end()
    return events
  }
  const publish = event => new Promise((resolve, reject) => {
    const sent = relay.publish(event)
    sent.on('ok', resolve)
    sent.on('failed', reason => reject(new Error(reason)))
  })
  const authenticated = async () => {
    while (!known) await sleep(20)
    await known
  }
  return {
    publish,
    /** Answers the challenge that a refusal comes with, and tries again. */
    publishAfterAuth: async event => {
      await publish(event).catch(() => {})
      await authenticated()
      await publish(event)
    },
    query,
    subscribe,
    queryAfterAuth: async filter => {
      subscribe(filter, () => {})
      await authenticated()
      return query(filter)
    },
    subscribeAfterAuth: async (filter, onevent) => {
      subscribe(filter, () => {})
      await authenticated()
      again.push(() => subscribe(filter, onevent))
      return subscribe(filter, onevent)
    },
    close: () => pool.close()
  }
}
