// Real nodes at two relays that share nothing but an ordinary nostr relay.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { stopAll } from './node.mjs'
import { freshRoom, roomUrl } from './relay.mjs'

for (const Kind of [Gen1, Gen2]) {
  test(`two relays and a plain one between them: generation ${Kind.generation}`, { timeout: 60000 }, async () => {
    const room = freshRoom()
    const [one, two] = [await Kind.boot(), await Kind.boot()]
    try {
      await one.post('before', 'the other came')
      await one.connect(roomUrl(room))
      await two.connect(`${process.env.OTHER_URL}/pico/${room}`)
      await two.knows(one, 'before', 'the other came')
      await two.post('back')
      await one.knows(two, 'back')
      await one.post('and forth')
      await two.knows(one, 'and forth')
      await one.equals(two)
      assert.deepEqual([...one.faults(), ...two.faults()], [])
    } finally {
      stopAll()
    }
  })
}
