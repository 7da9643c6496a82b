// Which library has what. Every scenario that is not named under a library must pass with it.
//
// `lacks`: the library has no such feature. `faulty`: the library does it wrong in a way that no relay can mend, and the scenario
// must fail; when it passes, the fault is gone and so must the entry be.

/** In the order of the columns. `term` and `kill` are about a relay that is stopped, or killed, and started again. */
export const names = [
  'publish', 'stored', 'live', 'replace', 'delete', 'auth', 'gift', 'nip46', 'nip47', 'count', 'search', 'negentropy', 'paging',
  'term-publish', 'term-live', 'term-gift', 'kill-publish', 'kill-live'
]

const all = (reason, ...scenarios) => Object.fromEntries(scenarios.map(name => [name, reason]))

const nip47 = 'no NIP-47, or a client without the wallet service that answers it: Alby has both'
const none = 'it has none'
const noReconnect = all('it does not connect again', 'term-publish', 'term-live', 'term-gift', 'kill-publish', 'kill-live')

// After `connectivity.onConnect` nothing sends the REQs of before: NDKRelaySubscription listens to `ready` only while it waits for
// its first connection. It does so after `authed`, but a relay that has no reason to ask who somebody is does not cause that.
const ndk = all('it connects again and does not send its REQs again', 'term-live', 'term-gift', 'kill-live')

export const table = {
  'nostr-tools': { lacks: { nip47 } },
  'nostr-tools-1': { lacks: { nip47, negentropy: none, ...noReconnect } },
  'ndk': { lacks: { nip47, negentropy: none }, faulty: ndk },
  'ndk-2': { lacks: { nip47, negentropy: none }, faulty: ndk },
  'nostr-fetch': {
    lacks: {
      ...all('it reads what is stored, and no more', 'publish', 'live', 'auth', 'gift', 'nip46', 'nip47', 'count', 'negentropy'),
      ...noReconnect
    }
  },
  'nostrify': { lacks: { nip47, negentropy: none } },
  'rx-nostr': { lacks: { nip47, count: none, negentropy: none } },
  'applesauce': { lacks: { nip47 } },
  'nostr-relaypool': { lacks: { nip47, count: none, negentropy: none } },
  'snort': {
    lacks: {
      nip47,
      count: none,
      // It sends `["NEG-OPEN", id, [filter, ..], ..]` and waits for NEG-ERROR, and only where NIP-11 has `negentropy`.
      negentropy: 'what it speaks is not NIP-77'
    },
    // `case "CLOSED"` deletes the request that `#onAuthAsync` would send again.
    faulty: all('it forgets a subscription that is closed with auth-required', 'term-gift')
  },
  'welshman': { lacks: { nip47, count: none } },
  'alby': {
    lacks: all('it speaks NIP-47 only', ...names.filter(name => !['nip47', 'term-publish', 'kill-publish'].includes(name)))
  },
  'nostr-sdk': { lacks: { nip47 } },
  'nostr-sdk-python': { runtime: 'python', lacks: { nip47 } },
  'pynostr': {
    runtime: 'python',
    lacks: { nip47, auth: none, gift: 'no AUTH', search: 'its filters have no words', negentropy: none, ...noReconnect }
  }
}
