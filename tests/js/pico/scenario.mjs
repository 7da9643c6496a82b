// Every scenario runs for generation 1, for generation 2, and for both at once in one room.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { stopAll } from './node.mjs'
import { freshRoom, roomUrl } from './relay.mjs'

/**
 * `body(stage)` plays for one generation: `stage.node()` is a new node, not yet online; `stage.url` the room;
 * `stage.once(f)` runs `f` once, when all generations have come that far.
 */
export function scenario (name, body, options = {}) {
  for (const kinds of [[Gen1], [Gen2], [Gen1, Gen2]]) {
    const label = kinds.map(Kind => `generation ${Kind.generation}`).join(' and ')
    test(`${name}: ${label}`, { timeout: 60000, ...options }, async () => {
      const room = freshRoom()
      const once = together(kinds.length)
      const nodes = []
      const play = Kind => body({
        Kind,
        room,
        once,
        get url () { return roomUrl(room) },
        async node (...texts) {
          const node = await Kind.boot()
          nodes.push(node)
          await node.post(...texts)
          return node
        },
        async joined (...texts) {
          const node = await this.node(...texts)
          return node.connect(this.url)
        }
      })
      try {
        await Promise.all(kinds.map(play))
        assert.deepEqual(nodes.flatMap(node => node.faults()), [])
      } finally {
        stopAll()
      }
    })
  }
}

/** The last of `count` callers runs it, the others wait for that. */
function together (count) {
  let waiting = []
  return action => new Promise((resolve, reject) => {
    waiting.push({ resolve, reject })
    if (waiting.length < count) return
    const all = waiting
    waiting = []
    action().then(() => all.forEach(one => one.resolve()), reason => all.forEach(one => one.reject(reason)))
  })
}
