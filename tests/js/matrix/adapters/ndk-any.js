/** NDK 2 and 3 have the same interface. */
export const adapter = (NDK, { NDKEvent, NDKPrivateKeySigner }) => async (url, me) => {
  const signer = me && new NDKPrivateKeySigner(me.hex)
  const ndk = new NDK({ explicitRelayUrls: [url], signer, enableOutboxModel: false })
  if (me) ndk.relayAuthDefaultPolicy = async () => true
  await ndk.connect(5000)
  const [relay] = ndk.pool.relays.values()
  return {
    publish: event => new NDKEvent(ndk, event).publish(undefined, 5000),
    query: async filter => [...await ndk.fetchEvents(filter)].map(event => event.rawEvent()),
    subscribe: (filter, onevent) => new Promise(resolve => {
      const sub = ndk.subscribe(filter, { closeOnEose: false })
      sub.on('event', event => onevent(event.rawEvent()))
      sub.on('eose', () => resolve(() => sub.stop()))
    }),
    // Version 2 has it for a relay only.
    count: async filter => ndk.count ? (await ndk.count(filter)).count : relay.connectivity.count([filter], {}),
    close: () => relay.disconnect()
  }
}
