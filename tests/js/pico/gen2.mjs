// A node of generation 2: the one of docs/examples/pico-browser, on piconet's own wsWire and with picostack's echo.

import { Memory } from '@telamon/picostore'
import { MemoryLevel } from 'memory-level'
import { toHex, toU8 } from 'picofeed'
import { PicoNode } from './example.mjs'
import { PATIENCE, online } from './node.mjs'

/** What an author says, in order. */
export class Notes extends Memory {
  initialValue = []

  compute (notes, { block, payload, AUTHOR, reject }) {
    if (typeof payload !== 'string' || toHex(block.key) !== AUTHOR) return reject('no note')
    return [...notes, payload]
  }
}

class Kernel extends PicoNode {
  constructor (secret) {
    super(new MemoryLevel({ valueEncoding: 'view', keyEncoding: 'view' }), { secret, onerror: () => {} })
    // picostore gives up what takes longer; 5 seconds, its default, are not much on a busy machine.
    this.store.mutexTimeout = PATIENCE
    this.collection = this.store.register('notes', Notes)
  }

  // wsWire takes nothing but node's Buffer.
  message (type, data) { return Buffer.from(super.message(type, data)) }

  // As picostack does: to all, the sender too, and once more to all others.
  share (patch, from) {
    super.share(patch)
    if (from) super.share(patch, from)
  }

  get pk64 () { return this.pk }

  async post (...texts) {
    for (const text of texts) await this.createBlock('notes', text)
  }

  notes () { return JSON.parse(JSON.stringify(this.collection.state)) }

  /** Our blocks, each as a feed of its own. */
  async blocks () {
    const feed = await this.repo.loadHead(toU8(this.pk))
    return feed.blocks.map((_, at) => Buffer.from(feed.slice(at, at + 1).buffer))
  }

  async feeds () {
    const heads = await this.repo.listHeads()
    const feeds = await Promise.all(heads.map(({ key }) => this.repo.loadHead(key)))
    return feeds.map(feed => toHex(feed.buffer)).sort()
  }
}

/** Generation 2. */
export class Gen2 extends online(Kernel) {
  static generation = 2

  static async boot (secret) {
    const node = new Gen2(secret)
    await node.boot()
    return node
  }

  get nodeId () { return this.id }

  set nodeId (id) { this.id = new Uint8Array(id) }
}
