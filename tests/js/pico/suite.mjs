// All of it, against $RELAY_URL or a stand-in: `node --test-reporter=spec suite.mjs`. $PARTS names some of it.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { died } from './guard.mjs'
import { release } from './relay.mjs'

const parts = process.env.PARTS ?? 'rooms attacks patience browser'
for (const part of parts.split(' ')) await import(`./${part}.mjs`)

test('no node has died', () => assert.deepEqual(died(), []))

// The packages leave timers behind.
after(() => {
  release()
  setTimeout(() => process.exit(), 100)
})
