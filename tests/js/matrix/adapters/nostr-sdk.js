import * as sdk from '@rust-nostr/nostr-sdk'

sdk.loadWasmSync()

const PATIENCE = sdk.Duration.fromSecs(60)

export async function open(url, me) {
  const client = me ? new sdk.Client(sdk.NostrSigner.keys(sdk.Keys.parse(me.hex))) : new sdk.Client()
  await client.addRelay(url)
  await client.connect()
  await client.waitForConnection(PATIENCE)
  const listeners = new Map()
  const eose = new Map()
  client.handleNotifications({
    handleEvent: async (_relay, id, event) => { listeners.get(id)?.(JSON.parse(event.asJson())); return false },
    handleMsg: async (_relay, message) => {
      const [type, id] = JSON.parse(message.asJson())
      if (type === 'EOSE') eose.get(id)?.()
      return false
    }
  })
  const parse = filter => sdk.Filter.fromJson(JSON.stringify(filter))
  let subs = 0
  return {
    publish: async event => {
      const { failed } = await client.sendEvent(sdk.Event.fromJson(JSON.stringify(event)))
      if (failed.length > 0) throw new Error(failed[0].error)
    },
    query: async filter => {
      const events = await client.fetchEvents(parse(filter), PATIENCE)
      return events.toVec().map(event => JSON.parse(event.asJson()))
    },
    subscribe: (filter, onevent) => new Promise(resolve => {
      const id = 's' + subs++
      listeners.set(id, onevent)
      eose.set(id, () => resolve(() => client.unsubscribe(id)))
      client.subscribeWithId(id, parse(filter))
    }),
    count: async filter => Number(await (await client.relay(url)).countEvents(parse(filter), PATIENCE)),
    // In this build its database keeps no events, so to it all are missing.
    missing: async (filter, have) => {
      const { report } = await client.sync(parse(filter), new sdk.SyncOptions().dry_run())
      const known = new Set(have.map(event => event.id))
      return report.remote.map(id => id.toHex()).filter(id => !known.has(id))
    },
    close: () => client.shutdown()
  }
}
