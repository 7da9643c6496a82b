// Nodes of generation 2 on hyperswarm, and a relay that joins their topic on a DHT of this machine.
// Whoever starts us reads `RELAY <port of a DHT node> <topic>` on stdout and starts the relay, `RESTART` and restarts it,
// and writes a line to our stdin when it is up.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import createTestnet from 'hyperdht/testnet.js'
import Hyperswarm from 'hyperswarm'
import { Gen2 } from './gen2.mjs'
import { died } from './guard.mjs'
import { until } from './node.mjs'

const { streamWire } = createRequire(import.meta.url)('piconet')
const { createHash, randomBytes } = await import('node:crypto')

const TOPIC = `notes ${randomBytes(8).toString('hex')}`
/** DHT nodes of this machine, lookups and dials take their time on a busy one. */
const PATIENCE = 60000

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const nodes = []
let testnet

async function ask (...words) {
  process.stdout.write(`\n${words.join(' ')}\n`)
  const { done } = await lines.next()
  if (done) throw new Error('nobody runs the relay')
}

/** A node that joins the topic, and the streams it has. Of the nodes here none meets another: only the relay. */
async function join ({ texts = [], keyPair } = {}) {
  const node = await Gen2.boot()
  await node.post(...texts)
  const swarm = new Hyperswarm({
    bootstrap: testnet.bootstrap,
    keyPair,
    firewall: key => nodes.some(other => other.node !== node && other.swarm.keyPair.publicKey.equals(key))
  })
  const streams = new Set()
  swarm.on('connection', stream => {
    if (process.env.LOUD) process.stderr.write(`connected as ${stream.isInitiator ? 'initiator' : 'responder'}\n`)
    streams.add(stream)
    stream.on('error', error => { if (process.env.LOUD) process.stderr.write(`${error}\n`) })
    stream.on('close', () => streams.delete(stream))
    // streamWire waits for the stream's close, and that needs both ends to end.
    stream.on('end', () => stream.end())
    streamWire(node.wire(), stream)
  })
  const joined = { node, swarm, streams }
  nodes.push(joined)
  const discovery = swarm.join(createHash('sha256').update(TOPIC).digest(), { server: true, client: true })
  await discovery.flushed()
  return joined
}

async function knows ({ node, streams }, { node: author }, ...texts) {
  await until(() => {
    const notes = node.notes()[author.pk] ?? []
    return texts.every(text => notes.includes(text))
  }, () => `${texts} known; ${streams.size} streams; ${JSON.stringify(node.notes())}`, PATIENCE)
}

async function same (a, b) {
  await until(async () => await a.node.snapshot() === await b.node.snapshot(), 'the same state', PATIENCE)
}

before(async () => {
  testnet = await createTestnet(4)
})

after(async () => {
  await Promise.all(nodes.map(({ swarm }) => swarm.destroy({ force: true })))
  await testnet.destroy()
  process.stdin.destroy()
  setTimeout(() => process.exit(), 100)
})

test('blocks flow both ways, and a late node gets them all', { timeout: 120000 }, async () => {
  const first = await join({ texts: ['before the relay'] })
  await ask('RELAY', testnet.bootstrap[0].port, TOPIC)
  await until(() => first.streams.size > 0, 'the relay is met', PATIENCE)
  const second = await join({ texts: ['second'] })
  await knows(second, first, 'before the relay')
  await knows(first, second, 'second')
  await first.node.post('live', 'ä'.repeat(5000))
  await second.node.post('live too')
  await knows(second, first, 'live', 'ä'.repeat(5000))
  await knows(first, second, 'live too')
  for (let n = 0; n < 50; n++) await first.node.post(`${n} ${'x'.repeat(2000)}`)
  const late = await join()
  await knows(late, first, `49 ${'x'.repeat(2000)}`)
  for (const node of [second, late]) await same(node, first)
})

test('a node that went comes back by the same key', { timeout: 120000 }, async () => {
  const [watcher] = nodes
  const { swarm } = await join({ texts: ['here'] })
  const author = nodes.at(-1)
  await knows(watcher, author, 'here')
  await swarm.destroy()
  await until(() => author.streams.size === 0, 'it is gone', PATIENCE)
  const again = await join({ texts: ['again'], keyPair: swarm.keyPair })
  await knows(watcher, again, 'again')
  await same(again, watcher)
})

test('what was there is there after a restart of the relay', { timeout: 120000 }, async () => {
  const [first, second] = nodes
  await ask('RESTART')
  await first.node.post('while the relay was away')
  await knows(second, first, 'while the relay was away')
  const fresh = await join()
  await same(fresh, first)
  await same(second, first)
})

test('connections end when the relay does', { timeout: 120000 }, async () => {
  await ask('STOP')
  await until(() => nodes.every(({ streams }) => streams.size === 0), () => `all are closed: ${nodes.map(({ streams }) => streams.size)}`, PATIENCE)
  await sleep(100)
})

test('no node has died', () => assert.deepEqual(died(), []))
