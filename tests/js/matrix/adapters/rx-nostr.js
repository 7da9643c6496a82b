import { createRxBackwardReq, createRxForwardReq, createRxNostr, noopSigner } from 'rx-nostr'
import { seckeySigner, verifier } from '@rx-nostr/crypto'

export function open(url, me) {
  const authenticator = me && { signer: seckeySigner(me.hex) }
  const rx = createRxNostr({ verifier, authenticator, signer: noopSigner() })
  rx.setDefaultRelays([url])
  return {
    publish: event => new Promise((resolve, reject) => {
      rx.send(event).subscribe({
        next: packet => packet.done && (packet.ok ? resolve() : reject(new Error(packet.notice))),
        error: reject
      })
    }),
    query: filter => new Promise((resolve, reject) => {
      const events = []
      const req = createRxBackwardReq()
      rx.use(req).subscribe({ next: packet => events.push(packet.event), complete: () => resolve(events), error: reject })
      req.emit(filter)
      req.over()
    }),
    // It does not tell of EOSE for a subscription that stays open, but passes all messages on.
    subscribe: (filter, onevent) => new Promise(resolve => {
      const req = createRxForwardReq()
      const sub = rx.use(req).subscribe(packet => onevent(packet.event))
      rx.createAllMessageObservable().subscribe(({ message }) => {
        if (message[0] === 'EOSE') resolve(() => sub.unsubscribe())
      })
      req.emit(filter)
    }),
    close: () => rx.dispose()
  }
}
