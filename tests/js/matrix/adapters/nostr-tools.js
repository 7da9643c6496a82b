import { nip77, SimplePool } from 'nostr-tools'

const { NegentropyStorageVector, NegentropySync } = nip77

export function open(url, me) {
  const pool = new SimplePool({ enableReconnect: true })
  const onauth = me && (template => Promise.resolve(me.sign(template)))
  return {
    publish: event => pool.publish([url], event, { onauth })[0],
    query: filter => new Promise((resolve, reject) => {
      const events = []
      const sub = pool.subscribe([url], filter, {
        onauth,
        // Otherwise it stops waiting for EOSE after 4.4 s: pages of 2,000 take longer on a busy machine.
        maxWait: 200_000,
        onevent: event => events.push(event),
        oneose: () => { resolve(events); sub.close() },
        onclose: reasons => reject(new Error(JSON.stringify(reasons)))
      })
    }),
    subscribe: (filter, onevent) => new Promise((resolve, reject) => {
      let sub
      const ask = () => {
        sub = pool.subscribe([url], filter, {
          onauth,
          onevent,
          oneose: () => resolve(() => sub.close()),
          // After it has connected again, a subscription that needs AUTH is given back to the app.
          onclose: ([{ reason }]) => reason.startsWith('auth-required') ? ask() : reject(new Error(reason))
        })
      }
      ask()
    }),
    count: async filter => (await pool.ensureRelay(url)).count([filter], {}),
    missing: async (filter, have) => {
      const storage = new NegentropyStorageVector()
      for (const { created_at, id } of have) storage.insert(created_at, id)
      storage.seal()
      const relay = await pool.ensureRelay(url)
      const need = []
      await new Promise((resolve, reject) => {
        const sync = new NegentropySync(relay, storage, filter, {
          onneed: id => need.push(id),
          onclose: reason => reason ? reject(new Error(reason)) : resolve()
        })
        sync.start()
      })
      return need
    },
    close: () => pool.close([url])
  }
}
