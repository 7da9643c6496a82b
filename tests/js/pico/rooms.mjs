// Nodes meet in rooms: bootstrap, gossip, and all the ways to go and come back.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from './node.mjs'
import { Raw } from './raw.mjs'
import { freshRoom, real, restart, roomUrl } from './relay.mjs'
import { scenario } from './scenario.mjs'

/** Long enough for a frame that must not come. */
const QUIET = 250

scenario('a fresh node gets everything', async stage => {
  const first = await stage.joined('one', 'two', 'three')
  const second = await stage.joined('ä', '')
  await first.knows(second, 'ä', '')
  const fresh = await stage.joined()
  await fresh.equals(first)
  await second.equals(first)
})

scenario('a fresh node gets everything from an empty room', async stage => {
  const first = await stage.joined('kept')
  await sleep(QUIET)
  await first.leave()
  const fresh = await stage.joined()
  await fresh.equals(first)
})

scenario('an empty room answers with nothing', async stage => {
  const node = await stage.joined()
  await sleep(QUIET)
  assert.deepEqual(node.notes(), {})
  assert.equal(node.heard(), 0)
})

scenario('live blocks reach the others once and their sender never', async stage => {
  const [a, b, c] = [await stage.joined(), await stage.joined(), await stage.joined()]
  for (const sender of [a, b, c]) {
    const before = new Map([a, b, c].map(node => [node, node.heard()]))
    await sender.post('live')
    for (const node of [a, b, c]) await node.knows(sender, 'live')
    await sleep(QUIET)
    if (!real) continue
    for (const node of [a, b, c]) assert.equal(node.heard() - before.get(node), node === sender ? 0 : 1, node.story())
  }
  await b.equals(a)
  await c.equals(a)
})

scenario('many authors', async stage => {
  const watcher = await stage.joined()
  const authors = []
  for (let n = 0; n < 10; n++) authors.push(await stage.joined(`${n} first`))
  await Promise.all(authors.map((node, n) => node.post(`${n} second`, `${n} third`)))
  for (const [n, node] of authors.entries()) await watcher.knows(node, `${n} first`, `${n} second`, `${n} third`)
  const fresh = await stage.joined()
  await fresh.equals(watcher)
  for (const node of authors) await node.equals(watcher)
})

scenario('a node carries a whole room to another', async stage => {
  for (let n = 0; n < 5; n++) await (await stage.joined('a', 'b')).leave()
  const carrier = await stage.joined()
  await until(() => Object.values(carrier.notes()).flat().length === 10, 'all ten blocks')
  await carrier.leave()
  const url = roomUrl(`${stage.room}.b`)
  await carrier.connect(url)
  await sleep(QUIET)
  const fresh = await stage.node()
  await fresh.connect(url)
  await fresh.equals(carrier)
})

scenario('blocks out of order are parked until their parents come', async stage => {
  const reader = await stage.joined()
  const author = await stage.node('0', '1', '2', '3', '4', '5')
  const blocks = await author.blocks()
  const raw = await Raw.join(stage.url, stage.Kind.generation)
  for (const at of [3, 5, 1, 4]) raw.blocks(blocks[at])
  await sleep(QUIET)
  if (real) assert.equal(reader.heard(), 0)
  raw.blocks(blocks[0])
  await reader.knows(author, '0', '1')
  raw.blocks(blocks[2])
  await reader.knows(author, '0', '1', '2', '3', '4', '5')
  await reader.equals(author)
  const fresh = await stage.joined()
  await fresh.equals(author)
})

scenario('a node that comes in the middle of traffic ends with the same', async stage => {
  const speakers = [await stage.joined(), await stage.joined()]
  let talking = true
  const talks = speakers.map(async speaker => {
    for (let n = 0; talking || n < 20; n++) {
      await speaker.post(`${n}`)
      await sleep(2)
    }
  })
  const late = []
  for (let n = 0; n < 4; n++) late.push(await stage.joined())
  // Some come twice: a node that has parked blocks cannot take them again.
  await late[0].leave()
  await late[0].connect(stage.url)
  talking = false
  await Promise.all(talks)
  for (const node of [...late, speakers[1]]) await node.equals(speakers[0])
  await late[1].leave()
  await speakers[0].post('after')
  await late[1].connect(stage.url)
  await late[1].equals(speakers[0])
})

scenario('a node reconnects with the same id', async stage => {
  const [a, b] = [await stage.joined('a'), await stage.joined('b')]
  await a.knows(b, 'b')
  for (let n = 0; n < 3; n++) {
    n === 1 ? await a.leave() : a.drop()
    await a.connect(stage.url)
    await a.post(`again ${n}`)
    await b.knows(a, `again ${n}`)
    await b.post(`back ${n}`)
    await a.knows(b, `back ${n}`)
  }
  await b.equals(a)
})

scenario('the newer of two connections with one id stays', async stage => {
  if (!real) return
  const a = await stage.node('a')
  const stale = await Raw.join(stage.url, stage.Kind.generation, { id: Buffer.from(a.nodeId) })
  await a.connect(stage.url)
  await stale.closed
  const b = await stage.joined('b')
  await b.equals(await a.knows(b, 'b').then(() => a))
  await a.post('still here')
  await b.knows(a, 'still here')
})

scenario('a node vanishes and comes back', async stage => {
  const [a, b] = [await stage.joined('a'), await stage.joined('b')]
  await b.knows(a, 'a')
  a.drop()
  await b.post('while a was away')
  await a.post('while away')
  await sleep(50)
  await a.connect(stage.url)
  await a.knows(b, 'b', 'while a was away')
  await b.knows(a, 'while away')
  await b.equals(a)
})

scenario('rooms are separate', async stage => {
  const [here, there] = [await stage.joined('here'), await stage.node('there')]
  await there.connect(roomUrl(freshRoom()))
  await here.post('only here')
  await there.post('only there')
  await sleep(QUIET)
  assert.deepEqual(Object.keys(here.notes()), [here.pk64])
  assert.deepEqual(Object.keys(there.notes()), [there.pk64])
})

scenario('/pico is the room main', async stage => {
  const [a, b] = [await stage.node('a'), await stage.node('b')]
  await a.connect(roomUrl(''))
  await b.connect(roomUrl('main'))
  await a.knows(b, 'b')
  await b.knows(a, 'a')
})

for (const how of ['RESTART', 'KILL']) {
  scenario(`what the room has survives ${how === 'KILL' ? 'kill -9' : 'a restart'}`, async stage => {
    const [a, b] = [await stage.joined('before'), await stage.joined()]
    await b.knows(a, 'before')
    for (let n = 0; n < 5; n++) await b.post(`b ${n}`)
    await a.knows(b, 'b 4')
    await stage.once(() => restart(how))
    await Promise.all([a.closed, b.closed])
    const fresh = await stage.joined()
    await fresh.equals(a)
    await a.post('while it was down')
    await a.connect(stage.url)
    await b.connect(stage.url)
    await fresh.knows(a, 'while it was down')
    await b.post('live again')
    for (const node of [a, fresh]) await node.equals(b)
  })
}
