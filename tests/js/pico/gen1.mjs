// A node of generation 1: picostack 1.5.17 as it is.

import { createRequire } from 'node:module'
import { MemoryLevel } from 'memory-level'
import { PATIENCE, online } from './node.mjs'

const { SimpleKernel, decodeBlock } = createRequire(import.meta.url)('picostack')

class Kernel extends SimpleKernel {
  constructor (secret) {
    super(new MemoryLevel({ valueEncoding: 'buffer', keyEncoding: 'buffer' }), { secret })
    // picostore gives up what takes longer; 5 seconds, its default, are not much on a busy machine.
    this.store.mutexTimeout = PATIENCE
    this.store.register({
      name: 'notes',
      initialValue: {},
      filter ({ block, AUTHOR }) {
        const { type, text } = decodeBlock(block.body)
        if (type !== 'note') return true
        return typeof text !== 'string' || !block.key.equals(AUTHOR) ? 'no note' : false
      },
      reducer ({ block, state }) {
        const key = block.key.toString('hex')
        return { ...state, [key]: [...(state[key] ?? []), decodeBlock(block.body).text] }
      }
    })
  }

  get pk64 () { return this.pk.toString('hex') }

  wire () { return this.spawnWire() }

  async post (...texts) {
    for (const text of texts) await this.createBlock('note', { text })
  }

  notes () { return this.store.state.notes }

  /** Our blocks, each as a feed of its own. */
  async blocks () {
    const feed = await this.repo.loadHead(this.pk)
    return feed.toArray().map((_, at) => {
      const one = feed.slice(at, at + 1)
      return one.buf.subarray(0, one.tail)
    })
  }

  async feeds () {
    const feeds = []
    for (const { key } of await this.repo.listHeads()) {
      const feed = await this.repo.loadHead(key)
      feeds.push(feed.buf.subarray(0, feed.tail).toString('hex'))
    }
    return feeds.sort()
  }
}

/** Generation 1. */
export class Gen1 extends online(Kernel) {
  static generation = 1

  static async boot (secret) {
    const node = new Gen1(secret)
    await node.boot()
    return node
  }

  get nodeId () { return this.rpc.nodeId }

  set nodeId (id) { this.rpc.nodeId = Buffer.from(id) }
}
