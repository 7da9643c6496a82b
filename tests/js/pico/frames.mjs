// Nodes that share only a nostr relay, and talk piconet in its events of kind 27420, as docs/nostr-pico.md says.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import WebSocket from 'ws'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { until } from './node.mjs'
import { freshRoom, httpUrl } from './relay.mjs'

const { wsWire } = createRequire(import.meta.url)('piconet')
const nostr = createRequire(new URL('../package.json', import.meta.url))
const { finalizeEvent, generateSecretKey, getPublicKey } = nostr('nostr-tools')
const { Relay, useWebSocketImplementation } = nostr('nostr-tools/relay')
useWebSocketImplementation(WebSocket)

const FRAME = 27420
const NODE_ID = 3
const now = () => Math.floor(Date.now() / 1000)

/** A node on a nostr relay: a nostr key for this run, and a wire to each other key. */
class Link {
  secret = generateSecretKey()
  pubkey = getPublicKey(this.secret)
  wires = new Map() // by the other's key
  refused = []

  constructor (node, relay, room) {
    Object.assign(this, { node, relay, name: `pico:room:${room}` })
  }

  async open () {
    await new Promise(resolve => {
      this.relay.subscribe([{ kinds: [FRAME], '#i': [this.name], since: now() - 5 }], {
        onevent: event => this.hear(event),
        oneose: resolve
      })
    })
    this.publish(Buffer.from([0, 0, 0, 0, 0, NODE_ID, ...Buffer.alloc(8, this.pubkey)]))
  }

  publish (frame, to) {
    const tags = [['i', this.name], ['k', 'pico:room'], ['alt', 'Pico network frame']]
    if (to) tags.push(['p', to])
    const draft = { kind: FRAME, created_at: now(), tags, content: frame.toString('base64') }
    this.relay.publish(finalizeEvent(draft, this.secret)).catch(reason => this.refused.push(reason))
  }

  hear ({ pubkey, tags, content }) {
    const to = tags.find(([name]) => name === 'p')?.[1]
    if (pubkey === this.pubkey || (to && to !== this.pubkey)) return
    const wire = this.wires.get(pubkey) ?? this.connect(pubkey)
    if (to) wire.onmessage({ data: Buffer.from(content, 'base64') })
  }

  connect (pubkey) {
    const wire = { readyState: 1, send: frame => this.publish(frame, pubkey), close () {} }
    this.wires.set(pubkey, wire)
    wsWire(this.node.wire(), wire)
    wire.onopen()
    return wire
  }
}

for (const Kind of [Gen1, Gen2]) {
  test(`three nodes that share only a nostr relay: generation ${Kind.generation}`, { timeout: 60000 }, async () => {
    const room = freshRoom()
    const links = []
    const join = async (...texts) => {
      const node = await Kind.boot()
      await node.post(...texts)
      const link = new Link(node, await Relay.connect(httpUrl().replace('http', 'ws')), room)
      links.push(link)
      await link.open()
      return node
    }
    try {
      const first = await join('before', 'anybody came')
      const second = await join('hello')
      await first.knows(second, 'hello')
      await second.knows(first, 'before', 'anybody came')
      const third = await join()
      await third.equals(first)
      await second.post('live')
      for (const node of [first, third]) await node.knows(second, 'live')
      await third.equals(second)
      await first.equals(second)
      assert.deepEqual(links.flatMap(link => link.refused), [])
      assert.deepEqual(links.map(link => link.wires.size), [2, 2, 2])
      // They never were in the room of the relay: it only passed on what they said.
      const page = await (await fetch(`${httpUrl()}/pico/${room}`)).text()
      assert.match(page, /holds 0 blocks/)
    } finally {
      links.forEach(link => link.relay.close())
      await until(() => links.every(link => !link.relay.connected), 'closed')
    }
  })
}
