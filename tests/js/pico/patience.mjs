// Who does not answer NODE_ID within 30 seconds is closed. Who fails over anything else, as nodes do without a word, still
// hears new blocks; and silence alone is no fault.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { stopAll } from './node.mjs'
import { NODE_ID, OK, QUERY, Raw, closeRaw } from './raw.mjs'
import { freshRoom, roomUrl } from './relay.mjs'

const LONG = 45000

const QUERY_2 = Buffer.from([0xa0])

/** Each stops talking at another point; is that the end of its connection? */
const SILENT = {
  'from the first frame on': { ends: true, play: async () => {} },
  'after its own NODE_ID': { ends: true, play: peer => peer.ask(NODE_ID, randomBytes(8)) },
  'when it should answer QUERY': {
    ends: false,
    play: async peer => {
      await greet(peer)
      await peer.query(2)
      await peer.next(({ type }) => type === 'QUERY')
    }
  },
  'in the middle of a download': {
    ends: false,
    play: async peer => {
      await greet(peer)
      peer.answer(await peer.next(({ type }) => type === 'QUERY'), OK)
      const first = await peer.ask(QUERY, QUERY_2)
      assert(first.asks, 'there is more than one feed')
    }
  }
}

async function greet (peer) {
  peer.answer(await peer.next(({ type }) => type === 'NODE_ID'), OK)
  await peer.ask(NODE_ID, randomBytes(8))
}

test('30 seconds', { timeout: 60000 }, async () => {
  const url = roomUrl(freshRoom())
  const nodes = []
  const still = []
  for (const Kind of [Gen1, Gen2]) {
    for (const text of ['a', 'b']) {
      const node = await Kind.boot()
      nodes.push(node)
      await node.post(text)
      await node.connect(url)
    }
  }
  // What one has heard of the other is stored: there are two feeds to download.
  for (const [a, b] of [nodes.slice(0, 2), nodes.slice(2)]) await a.knows(b, 'b')
  await Promise.all(Object.entries(SILENT).map(async ([when, { ends, play }]) => {
    const peer = await Raw.open(url)
    await play(peer)
    const start = Date.now()
    await Promise.race([peer.closed, sleep(ends ? LONG : 35000)])
    const seconds = (Date.now() - start) / 1000
    assert.equal(peer.isClosed, ends, `silent ${when}, after ${seconds} seconds`)
    if (ends) assert(seconds > 20, `silent ${when}: ${seconds} seconds are too few`)
    else still.push(peer)
  }))

  for (const [a, b] of [nodes.slice(0, 2), nodes.slice(2)]) {
    await a.post('still here')
    await b.knows(a, 'still here')
    assert.deepEqual([...a.faults(), ...b.faults()], [])
  }
  for (const peer of still) await peer.next(({ to, type }) => to === 0 && type === 'BLOCKS')
  closeRaw()
  stopAll()
})
