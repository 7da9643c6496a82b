import { NWCClient, NWCWalletService, NWCWalletServiceKeyPair } from '@getalby/sdk/nwc'
import { person, sleep } from '../events.js'

/** A wallet service and its client, each with a connection of its own. `publish` asks for the balance. */
export async function open(url) {
  const [wallet, app] = [person(), person()]
  const service = new NWCWalletService({ relayUrl: url })
  // It gives a connection 4.4 s, which a busy machine may exceed.
  for (let tries = 5; ; tries--) {
    try { await service.publishWalletServiceInfoEvent(wallet.hex, ['get_balance'], []); break } catch (error) { if (tries === 1) throw error }
    await sleep(1000)
  }
  const keys = new NWCWalletServiceKeyPair(wallet.hex, app.pubkey)
  const end = await service.subscribe(keys, { getBalance: async () => ({ result: { balance: 21_000 } }) })
  const client = new NWCClient({ relayUrls: [url], walletPubkey: wallet.pubkey, secret: app.hex })
  const balance = async () => (await client.getBalance()).balance
  return { balance, publish: balance, close: () => { end(); service.close(); client.close() } }
}
