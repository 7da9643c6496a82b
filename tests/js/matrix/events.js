// People with keys, and their events, made by nostr-tools for every library alike.

import { finalizeEvent, generateSecretKey, getPublicKey } from 'nostr-tools/pure'

export const now = () => Math.floor(Date.now() / 1000)

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Somebody with a new key. */
export function person() {
  const secret = generateSecretKey()
  const sign = template => finalizeEvent({ created_at: now(), tags: [], content: '', kind: 1, ...template }, secret)
  const hex = Buffer.from(secret).toString('hex')
  return { secret, hex, pubkey: getPublicKey(secret), sign }
}

/** What NIP-42 has a client sign. */
export const proof = (relay, challenge) => ({ kind: 22242, tags: [['relay', relay], ['challenge', challenge]] })
