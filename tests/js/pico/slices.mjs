// Rooms whose rules are files: the relay and real nodes run the same ones, and must agree on every block and on the state.
// $RELAY_DATA is the data folder of the relay. $SEED makes the story the same again, $ROOMS tells only some of it.

import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { encode } from 'cborg'
import { build } from 'esbuild'
import { Feed, toU8 } from 'picofeed'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { PATIENCE, stopAll, until } from './node.mjs'
import { BLOCKS, closeRaw, Raw } from './raw.mjs'
import { httpUrl, restart, roomUrl } from './relay.mjs'

const DOCS = new URL('../../../docs/slices/', import.meta.url)
const OURS = new URL('./slices/', import.meta.url)
/** Where files find the real packages. */
const HERE = new URL('./node_modules/.slices/', import.meta.url)
const DATA = new URL(`file://${process.env.RELAY_DATA}/slices/`)
const PACKAGES = ['@telamon/picostore', 'picofeed', 'picostack', 'cborg', 'msgpackr']

const HOUR = 60 * 60 * 1000
// The same story in each run; others by $SEED.
const seed = Number(process.env.SEED ?? 1)

let random = seed
/** A whole number below `below` (mulberry32). */
function any (below) {
  random = (random + 0x6d2b79f5) | 0
  let t = Math.imul(random ^ (random >>> 15), 1 | random)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) % below
}
const one = (...list) => list[any(list.length)]

// The clock of all nodes here.
const Machine = Date
let ahead = 0
globalThis.Date = class Date extends Machine {
  constructor (...parts) { super(...(parts.length ? parts : [Machine.now() + ahead])) }
  static now () { return Machine.now() + ahead }
}

/** Each app: its file, its nodes, and what somebody may try to write. Half of it is against the rules. */
const all = [
  {
    room: 'chat',
    file: new URL('chat.js', DOCS),
    Kind: Gen2,
    slices: ['people', 'lines'],
    attempt: () => one(
      ['people', { name: one('Ada', 'Bob', 'Čeněk', 'Ω 7', '', 'x'.repeat(30), 'a_b', 7) }],
      ['lines', { text: one('hello', 'ä ö ü', ' ', 'x'.repeat(280), 'x'.repeat(281), undefined) }],
      ['lines', { text: `${any(1000)}` }],
      ['lines', null]
    )
  },
  {
    room: 'arena',
    file: new URL('arena.js', DOCS),
    Kind: Gen2,
    slices: ['players', 'strikes'],
    begin: ['players', { enter: true }],
    attempt: (node, nodes) => one(
      ['players', one({ enter: true }, { enter: 1 }, null)],
      ['strikes', { at: one(...nodes).pk64, with: one('sword', 'feather', 'feather', 'toString', 'spoon') }],
      ['strikes', { at: one(...nodes).pk64, with: 'feather' }]
    ),
    // Nobody strikes faster than once in a second.
    pause: 1001
  },
  {
    room: 'sessions',
    file: new URL('sessions.js', OURS),
    Kind: Gen2,
    slices: ['sessions', 'entries', 'scores'],
    attempt: node => one(
      ['sessions', { minutes: one(30, 60, 600, 1440, 0, 1441, 0.5) }],
      ['entries', one('a', 'b', 'c', 'word', 'Word', '', 7)],
      ['entries', one('a', 'b')],
      ['scores', { owner: node.pk64, points: one(1, 7, 50, -1), rounds: [one(0, 1), one(0, 0.5)] }],
      ['scores', { owner: 'nobody', points: 1 }]
    )
  },
  {
    room: 'ledger',
    file: new URL('ledger.cjs', OURS),
    Kind: Gen1,
    slices: ['ledger', 'alarms'],
    attempt: () => ['entry', { amount: one(1, 5, 20, 60, 200, -1, -30, -100, 0, 0.5, 'x') }]
  }
]
const apps = all.filter(app => (process.env.ROOMS ?? app.room).includes(app.room))

/** A node that runs the rules of an app, as they are. */
async function boot ({ Kind, file, module }, secret) {
  class Node extends Kind {
    constructor (secret) {
      super(secret)
      module.default(this.store)
    }

    /** Our whole chain and one more block, whatever the rules say of it. */
    async unchecked (name, payload) {
      if (Kind === Gen1) {
        const feed = await this.repo.loadHead(this.pk) ?? new GenFeed()
        feed.append(picostack.encodeBlock(name, feed.length, payload), this._secret)
        return feed.buf.subarray(0, feed.tail)
      }
      const feed = await this.repo.loadHead(toU8(this.pk)) ?? new Feed()
      feed.append(encode([name, payload, Date.now()]), this.secret)
      return Buffer.from(feed.buffer)
    }

    /** What a slice holds, as the relay shows it. */
    shows (slice) {
      const value = Kind === Gen1 ? this.store.state[slice] : this.store.roots[slice].state
      return JSON.parse(JSON.stringify(value))
    }

    async collect () {
      for (let n = 0; n < 3; n++) await this.store.gc(Date.now())
    }
  }
  const node = new Node(secret)
  await node.boot()
  return node
}

const require = createRequire(import.meta.url)
const picostack = require('picostack')
const GenFeed = createRequire(require.resolve('picostack'))('picofeed')

async function stateOf (room, slice) {
  const answer = await fetch(`${httpUrl()}/pico/${room}/state/${slice}`)
  assert.equal(answer.status, 200, `${room}/${slice}: ${await answer.clone().text()}`)
  return answer.json()
}

/** A metric of a room, summed up. */
async function metric (name, room) {
  const text = await (await fetch(`${httpUrl()}/metrics`)).text()
  const lines = text.split('\n').filter(line => line.startsWith(name) && line.includes(`room="${room}"`))
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}

const sorted = value => {
  if (Array.isArray(value)) return value.map(sorted)
  if (!value || typeof value !== 'object') return value
  return Object.fromEntries(Object.keys(value).sort().map(key => [key, sorted(value[key])]))
}
const text = value => JSON.stringify(sorted(value))

/** The relay and all nodes of an app have the same state. */
async function agree (app, nodes, when) {
  for (const slice of app.slices) {
    let relay, others
    const isSame = async () => {
      // The relay lets go what is over at once, nodes when they collect.
      if (app.Kind === Gen2) for (const node of nodes) await node.collect()
      relay = text(await stateOf(app.room, slice))
      others = nodes.map(node => text(node.shows(slice)))
      return others.every(other => other === relay)
    }
    await until(isSame, () => `${when}, ${app.room}/${slice}, seed ${seed}: the relay has\n${relay}\nand the nodes\n${others.join('\n')}`)
  }
}

/** Somebody writes something. What the own node refuses is sent all the same, and must be refused by the relay, too. */
async function move (app, nodes, count) {
  const node = one(...nodes)
  const [name, payload] = app.attempt(node, nodes)
  ahead += app.pause ?? 1
  try {
    await node.createBlock(name, payload)
    count.accepted++
  } catch (error) {
    assert.match(String(error), /InvalidBlock|whole number/, `${app.room} ${name} ${text(payload)}, seed ${seed}`)
    const rejected = await metric('picorelay_pico_rejected_total', app.room)
    const raw = app.raw ??= await Raw.join(roomUrl(app.room), app.Kind.generation)
    raw.frames.length = 0
    raw.blocks(await node.unchecked(name, payload))
    const isRejected = async () => await metric('picorelay_pico_rejected_total', app.room) > rejected
    await until(isRejected, `a rejection in ${app.room}: ${name} ${text(payload)}, seed ${seed}`)
    count.rejected++
  }
  await agree(app, nodes, `after ${name} ${text(payload)}`)
}

async function play (app, count, moves) {
  for (let n = 0; n < moves; n++) await move(app, app.nodes, count)
}

/** More of the story where there is not enough in it yet for what follows to say something. */
async function playUntil (app, count, hasEnough) {
  let moves = 0
  for (; !await hasEnough(); moves++) {
    assert.ok(moves < 200, `the story of ${app.room} has enough in it, seed ${seed}`)
    await move(app, app.nodes, count)
  }
  if (moves) console.error(`${moves} more moves in ${app.room}`)
}

async function connectAll () {
  closeRaw()
  for (const app of apps) {
    app.raw = undefined
    for (const node of app.nodes) await node.connect(roomUrl(app.room))
  }
}

/** Restarts the relay; its clock is that of the nodes. */
async function restartAll (how = 'RESTART') {
  const nodes = apps.flatMap(app => app.nodes)
  await restart(`AHEAD ${ahead}`)
  if (how !== 'RESTART') await restart(how)
  await Promise.all(nodes.map(node => node.closed))
}

const blocksOf = async ({ nodes }) => (await nodes[0].feeds()).length

test('the relay and the nodes agree', { timeout: 240000 }, async () => {
  console.error(`seed ${seed}`)
  await mkdir(HERE, { recursive: true })
  for (const app of apps) {
    const folder = new URL(`${app.room}/`, DATA)
    await mkdir(folder, { recursive: true })
    // The nodes run the files themselves, with the real packages ..
    const bundle = new URL(`${app.room}.mjs`, HERE)
    await build({ entryPoints: [app.file.pathname], outfile: bundle.pathname, bundle: true, format: 'esm', external: PACKAGES, logLevel: 'error' })
    const isCommon = app.file.pathname.endsWith('.cjs')
    app.module = isCommon ? { default: require(app.file.pathname) } : await import(bundle)
    // .. and the relay what esbuild made of them, or the file as it is if it is a module by itself.
    const isOne = !isCommon && !(await readFile(app.file, 'utf8')).includes("from './")
    await copyFile(isOne ? app.file : bundle, new URL(`${app.room}.js`, folder))
  }
  await restart(`AHEAD ${ahead}`)
  const count = { accepted: 0, rejected: 0 }
  for (const app of apps) app.nodes = [await boot(app), await boot(app), await boot(app)]
  try {
    await connectAll()
    for (const app of apps) {
      for (const node of app.begin ? app.nodes : []) {
        await node.createBlock(...app.begin)
        await agree(app, app.nodes, 'at the beginning')
      }
      await play(app, count, 30)
    }

    // After a few hours and a restart.
    ahead += 5 * HOUR
    await restartAll()
    for (const app of apps) {
      for (const node of app.nodes) await node.collect()
      await agree(app, app.nodes, 'after five hours')
    }
    await connectAll()
    for (const app of apps) {
      await play(app, count, 12)
      await playUntil(app, count, async () => await blocksOf(app) > 0)
    }

    // After a day all that expires is gone. One node of each room has missed that, and offers what it has.
    ahead += 25 * HOUR
    const before = await Promise.all(apps.map(blocksOf))
    await restartAll('KILL')
    for (const app of apps) {
      for (const node of app.nodes.slice(1)) await node.collect()
      await agree(app, app.nodes.slice(1), 'after a day')
    }
    await connectAll()
    for (const app of apps) {
      await agree(app, app.nodes.slice(1), 'after somebody has offered what is gone')
      await app.nodes[0].collect()
      await agree(app, app.nodes, 'after all have collected')
    }
    const after = await Promise.all(apps.map(blocksOf))
    for (const [at, { room }] of apps.entries()) {
      assert.ok(before[at] > 0, `there were chains in ${room}`)
      assert.equal(after[at], room === 'sessions' ? 0 : before[at], `chains in ${room}`)
    }
    for (const app of apps) await play(app, count, 12)

    // Computed anew from the blocks.
    for (const app of apps) {
      await restart(`RELOAD ${app.room}`)
      await agree(app, app.nodes, 'after a reload')
    }
    await Promise.all(apps.flatMap(app => app.nodes.map(node => node.closed)))
    await connectAll()
    for (const app of apps) await play(app, count, 6)
    const isEnough = () => count.accepted > 8 * apps.length && count.rejected > 12 * apps.length
    await playUntil(apps[0], count, isEnough)

    // Somebody new hears it all from the relay. (In the arena it matters who came first, and no node is told that.)
    for (const app of apps.filter(app => ['chat', 'sessions'].includes(app.room))) {
      const fresh = await boot(app)
      await fresh.connect(roomUrl(app.room))
      const chains = async () => [(await fresh.feeds()).length, (await app.nodes[0].feeds()).length]
      const what = async () => `all feeds of ${app.room} at once, with seed ${seed}: ${await chains()}`
      await until(async () => (await chains()).every((count, _, [first]) => count === first), what, PATIENCE)
      await fresh.collect()
      await agree(app, [fresh], 'for somebody new')
    }
    assert.deepEqual(apps.flatMap(app => app.nodes.flatMap(node => node.faults())), [])
    assert.ok(isEnough(), text(count))
    console.error(`accepted ${count.accepted}, rejected ${count.rejected}`)
  } finally {
    stopAll()
    closeRaw()
  }
})

test('who uploads what the rules reject is told, and nobody else', { timeout: 60000 }, async () => {
  for (const app of apps) {
    const [listener, writer] = [await boot(app), await boot(app)]
    try {
      await listener.connect(roomUrl(app.room))
      const heard = listener.heard()
      const name = { chat: 'lines', arena: 'strikes', sessions: 'entries', ledger: 'entry' }[app.room]
      const raw = await Raw.join(roomUrl(app.room), app.Kind.generation)
      // ERR is all that piconet has; the reason is in the log and the metrics of the relay.
      const answer = await raw.ask(BLOCKS, await writer.unchecked(name, { text: '' }))
      assert.equal(answer.type, 'ERR', app.room)
      assert.equal(listener.heard(), heard, app.room)
      const fresh = await boot(app)
      await fresh.connect(roomUrl(app.room))
      assert.ok(!(await fresh.feeds()).some(feed => feed.includes(writer.pk64)), app.room)
    } finally {
      stopAll()
      closeRaw()
    }
  }
})
