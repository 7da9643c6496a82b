// A pico node and a nostr client (nostr-tools) that read each other. The room `notes` has readable copies and takes
// replies.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { Memory } from '@telamon/picostore'
import WebSocket from 'ws'
import { Gen2 } from './gen2.mjs'
import { stopAll, until } from './node.mjs'
import { httpUrl, roomUrl } from './relay.mjs'

const nostr = createRequire(new URL('../package.json', import.meta.url))
const { finalizeEvent, generateSecretKey, getPublicKey, nip19, verifyEvent } = nostr('nostr-tools')
const { Relay, useWebSocketImplementation } = nostr('nostr-tools/relay')
useWebSocketImplementation(WebSocket)

/** What came from nostr, by whoever carried it over. */
class Nostr extends Memory {
  initialValue = []

  compute (events, { payload, reject }) {
    return verifyEvent({ ...payload }) ? [...events, payload] : reject('no event')
  }
}

class Reader extends Gen2 {
  constructor (secret) {
    super(secret)
    this.nostr = this.store.register('nostr', Nostr)
  }

  static async boot (secret) {
    const node = new Reader(secret)
    await node.boot()
    return node
  }

  events () { return JSON.parse(JSON.stringify(Object.values(this.nostr.state).flat())) }
}

const now = () => Math.floor(Date.now() / 1000)

test('a nostr client and a pico node read each other', { timeout: 60000 }, async () => {
  const node = await Reader.boot()
  await node.connect(roomUrl('notes'))
  const relay = await Relay.connect(httpUrl().replace('http', 'ws'))
  try {
    const seen = []
    relay.subscribe([{ kinds: [1], '#i': ['pico:room:notes'] }], { onevent: event => seen.push(event) })
    await node.post('hello nostr')
    const note = await until(() => seen.find(({ content }) => content === 'hello nostr'), 'the note')
    assert.ok(verifyEvent(note))
    assert.ok(note.tags.some(([name, value]) => name === 'i' && value === `pico:author:${node.pk}`))

    // The page of the room says whom to follow, and following works.
    const page = await (await fetch(httpUrl() + '/pico/notes')).text()
    const npub = nip19.npubEncode(note.pubkey)
    assert.ok(page.includes(`nostr:${npub}`), page)
    const followed = await new Promise(resolve => {
      const events = []
      const sub = relay.subscribe([{ authors: [nip19.decode(npub).data], kinds: [0, 1] }], {
        onevent: event => events.push(event),
        oneose: () => { sub.close(); resolve(events) }
      })
    })
    assert.deepEqual(followed.map(({ id }) => id), [note.id])

    const secret = generateSecretKey()
    const reply = finalizeEvent({
      kind: 1,
      created_at: now(),
      content: 'hello pico ✨',
      tags: [['e', note.id, '', 'root', note.pubkey], ['p', note.pubkey]]
    }, secret)
    await relay.publish(reply)
    const got = await until(() => node.events().find(({ id }) => id === reply.id), () => `the reply; ${node.story()}`)
    assert.equal(got.content, reply.content)
    assert.equal(got.pubkey, getPublicKey(secret))
    assert.ok(verifyEvent(got))

    // Who comes later gets both.
    const later = await Reader.boot()
    await later.connect(roomUrl('notes'))
    await later.equals(node)
    assert.deepEqual(later.events(), node.events())
    assert.deepEqual(node.faults(), [])
  } finally {
    relay.close()
    stopAll()
  }
})
