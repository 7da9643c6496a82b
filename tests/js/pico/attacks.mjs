// Attacks on a room, one after the other, while healthy nodes of both generations work in it.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { encode } from 'cborg'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { stopAll } from './node.mjs'
import { BLOCKS, ERR, NODE_ID, OK, QUERY, Raw, author, bareSocket, block3, block8, closeRaw, feed3, feed8, frame, rawFaults, varint } from './raw.mjs'
import { freshRoom, httpUrl, port, real, roomUrl } from './relay.mjs'

const vectors = name => JSON.parse(readFileSync(new URL(`../../../bridge/picofeed/tests/vectors/${name}.json`, import.meta.url)))
const room = freshRoom()
const url = () => roomUrl(room)
const note = text => Buffer.from(encode(['notes', text, Date.now()]))
const mallory = author()
const healthy = []

before(async () => {
  for (const Kind of [Gen1, Gen2]) {
    const pair = [await Kind.boot(), await Kind.boot()]
    for (const node of pair) await node.connect(url())
    healthy.push(pair)
  }
})
after(() => { closeRaw(); stopAll() })

/**
 * `act` may leave its connections open: they are closed after the healthy ones have talked to each other. `news: 0` says
 * that the room must hear nothing of it.
 */
function attack (name, act, { news } = {}) {
  test(`attack: ${name}`, { timeout: 90000 }, async () => {
    rawFaults.length = 0
    const heard = healthy.flat().map(node => node.heard())
    await act()
    await Promise.all(healthy.map(async ([a, b]) => {
      await a.post(name)
      await b.knows(a, name)
      await b.post(name)
      await a.knows(b, name)
    }))
    for (const node of healthy.flat()) {
      assert.equal(node.socket.readyState, 1, 'a healthy node lost its connection')
      assert.deepEqual(node.faults(), [])
    }
    if (real && news === 0) {
      const more = healthy.flat().map((node, at) => node.heard() - heard[at])
      assert.deepEqual(more, [1, 1, 1, 1], 'each hears its partner and nobody else')
    }
    assert.deepEqual(rawFaults, [])
    closeRaw()
  })
}

const join = (generation = 2, options) => Raw.join(url(), generation, options)

/** As a live block, as one that asks for an answer, and as all that a node has. */
async function offer (generation, bytes) {
  const peer = await join(generation)
  peer.blocks(bytes)
  peer.send(0, 77, 1, BLOCKS, bytes)
  if (real) await peer.next(({ to }) => to === 77).catch(() => assert(peer.isClosed, 'it is answered or closed'))
  await join(generation, { give: [bytes] })
}

// Feeds that must not be stored or passed on.

for (const { id, feed, relay } of vectors('feed-v8').edge_cases.filter(({ relay }) => relay !== 'accept')) {
  attack(`v8 feed ${id}`, async () => {
    const bytes = Buffer.from(feed, 'hex')
    await offer(2, bytes)
  }, { news: 0 })
}

for (const { id, feed } of vectors('feed-v3').edge_cases.filter(({ relay }) => relay === 'reject' || relay === 'ignore')) {
  attack(`v3 feed ${id}`, async () => {
    const bytes = Buffer.from(feed, 'hex')
    await offer(1, bytes)
  }, { news: 0 })
}

attack('a feed of the other generation', async () => {
  const [one, two] = [await join(1), await join(2)]
  const oldNote = Buffer.from('\x82\xa4type\xa4note\xa4text\xa1x', 'latin1')
  one.blocks(feed8(block8(author(), note('from generation 1'))))
  two.blocks(feed3(mallory, block3(mallory, oldNote)))
})

attack('a block whose parent is itself', async () => {
  const block = block8(mallory, note('loop'))
  const peer = await join()
  peer.blocks(feed8(block8(mallory, note('loop'), block), block))
  peer.blocks(block8(mallory, note('loop'), block))
})

attack('a size as long as the rest of the memory', async () => {
  const peer = await join()
  for (const size of [varint(2 ** 31 - 1), varint(2 ** 32), varint(2 ** 53 - 1), Buffer.alloc(64, 0xff)]) {
    peer.blocks(feed8(block8(mallory, note('x'), undefined, { size })))
  }
})

attack('a thousand headers', async () => {
  const headers = Array.from({ length: 1000 }, () => [1, mallory.key])
  const peer = await join()
  peer.blocks(feed8(block8(mallory, note('x'), undefined, { headers })))
})

attack('a thousand blocks without parents', async () => {
  const peer = await join()
  for (let n = 0; n < 1000; n++) peer.blocks(feed8(block8(mallory, note(`${n}`), randomBytes(64))))
})

attack('a feed that grows byte by byte', async () => {
  const bytes = feed8(block8(mallory, note('slow')))
  const peer = await join()
  for (let n = 0; n < bytes.length; n++) peer.blocks(bytes.subarray(0, n))
})

attack('one bit of a feed flipped, everywhere', async () => {
  const bytes = feed8(block8(mallory, note('bits')))
  const peer = await join()
  for (let n = 4; n < bytes.length; n++) {
    const bad = Buffer.from(bytes)
    bad[n] ^= 1 << n % 8
    peer.blocks(bad)
  }
})

// Frames.

attack('text frames', async () => {
  for (const text of ['', 'hello', '["REQ","a",{}]', JSON.stringify(['EVENT', {}])]) {
    const peer = await join()
    peer.socket.send(text)
    const stranger = await Raw.open(url())
    stranger.socket.send(text)
  }
})

attack('frames too short for a header', async () => {
  for (let length = 0; length < 6; length++) {
    const peer = await join()
    peer.binary(Buffer.alloc(length))
    peer.binary(Buffer.alloc(length, 1))
    const stranger = await Raw.open(url())
    stranger.binary(Buffer.alloc(length))
  }
})

attack('message types nobody knows, with and without a port', async () => {
  for (let type = 4; type < 255; type += 10) {
    const peer = await Raw.open(url())
    peer.send(0, 1, 1, type)
    peer.send(0, 0, 0, type, randomBytes(100))
  }
})

attack('every flag', async () => {
  const peer = await join()
  for (let flags = 0; flags < 256; flags++) peer.send(0, 1000 + flags, flags, QUERY, Buffer.from([0xa0]))
})

attack('answers to ports that were never used', async () => {
  const peer = await join()
  for (const to of [5, 99, 32767, 65535]) {
    peer.send(to, 0, 0, OK)
    peer.send(to, 7, 1, BLOCKS, feed8(block8(author(), note('x'))).subarray(0, 50))
  }
})

attack('random bytes', async () => {
  for (let n = 0; n < 10; n++) {
    const peer = n % 2 ? await join() : await Raw.open(url())
    for (let m = 0; m < 50; m++) peer.binary(randomBytes(m * 7 % 300))
    for (let m = 0; m < 50; m++) peer.send(m % 3, m, m % 2, m % 5, randomBytes(m * 7 % 300))
  }
})

attack('a frame of 64 MiB', async () => {
  const peer = await join()
  peer.binary(frame(0, 0, 0, BLOCKS, Buffer.alloc(64 << 20)))
  await Promise.race([peer.closed, sleep(5000)])
  assert(peer.isClosed, 'it is closed')
})

attack('a WebSocket header that promises 2^63 bytes', async () => {
  for (const length of ['7fffffffffffffff', 'ffffffffffffffff', '0000000100000000']) {
    const socket = await bareSocket(port(), `/pico/${room}`)
    socket.write(Buffer.from(`82ff${length}00000000`, 'hex'))
    socket.write(Buffer.alloc(1000))
  }
})

attack('WebSocket frames no client may send', async () => {
  // Unmasked, reserved bits, reserved opcodes, a continuation of nothing, a long ping, a fragmented ping, a bad close.
  for (const bytes of ['820600000000000000', 'f28000000000', '838000000000', '8b8000000000', '808000000000', '89fe00ff00000000', '098000000000', '888100000000ff', '8882000000000001']) {
    const socket = await bareSocket(port(), `/pico/${room}`)
    socket.write(Buffer.from(bytes, 'hex'))
  }
})

attack('an upload that never ends', async () => {
  const half = await bareSocket(port())
  half.write(`GET /pico/${room} HTTP/1.1\r\nHost: x\r\nX-Slow: `)
  const peer = await join()
  peer.socket.send(frame(0, 1, 1, NODE_ID).subarray(0, 3), { fin: false })
  for (let n = 0; n < 100; n++) peer.socket.send(Buffer.from([n]), { fin: false })
})

attack('messages in fragments of one byte', async () => {
  const peer = await Raw.open(url())
  const bytes = frame(0, 1, 1, NODE_ID, randomBytes(8))
  for (const [at, byte] of bytes.entries()) peer.socket.send(Buffer.from([byte]), { fin: at + 1 === bytes.length })
  assert.equal((await peer.next(({ to }) => to === 1)).type, 'OK')
})

attack('a thousand pings', async () => {
  const peer = await join()
  for (let n = 0; n < 1000; n++) peer.socket.ping(randomBytes(100))
})

attack('connections that are cut at once', async () => {
  for (let n = 0; n < 50; n++) {
    const socket = await bareSocket(port(), n % 2 ? `/pico/${room}` : undefined)
    n % 3 ? socket.resetAndDestroy() : socket.destroy()
  }
})

// Conversations.

attack('node ids too short, too long, none, twice', async () => {
  for (const id of [Buffer.alloc(0), Buffer.alloc(1), randomBytes(7), randomBytes(9), randomBytes(100000)]) {
    const peer = await Raw.open(url())
    peer.send(0, 1, 1, NODE_ID, id)
    peer.send(0, 2, 1, NODE_ID, id)
    peer.send(0, 3, 0, NODE_ID, id)
  }
})

attack('a flood of NODE_ID', async () => {
  const peer = await join()
  for (let n = 0; n < 3000; n++) peer.send(0, n, 1, NODE_ID, randomBytes(8))
})

attack('a flood of QUERY', async () => {
  const peer = await join()
  for (let n = 0; n < 3000; n++) peer.send(0, n, 1, QUERY, Buffer.from([0xa0]))
})

attack('a flood of QUERY that is never read', async () => {
  const peer = await join()
  peer.socket.pause()
  for (let n = 0; n < 3000; n++) peer.send(0, n, 1, QUERY, Buffer.from([0xa0]))
})

attack('QUERY with parameters of all kinds', async () => {
  const deep = Buffer.concat([Buffer.alloc(100000, 0x81), Buffer.from([0])])
  for (const data of ['', '80', 'de0000', 'a1', 'ff', 'bf', 'dfffffffff', '9b7fffffffffffffff', '5b7fffffffffffffff', deep.toString('hex')]) {
    const peer = await Raw.open(url())
    peer.send(0, 1, 1, QUERY, Buffer.from(data, 'hex'))
    const polite = await join()
    polite.send(0, 90, 1, QUERY, Buffer.from(data, 'hex'))
  }
})

attack('QUERY without a return port', async () => {
  const peer = await join()
  for (let n = 0; n < 100; n++) peer.send(0, 0, 0, QUERY, Buffer.from([0xa0]))
})

attack('one return port for all requests', async () => {
  const peer = await join()
  for (let n = 0; n < 100; n++) peer.send(0, 1, 1, n % 2 ? QUERY : NODE_ID, Buffer.from([0xa0, 1, 2, 3, 4, 5, 6, 7]))
})

attack('wrong answers to NODE_ID', async () => {
  for (const [type, data] of [[ERR], [QUERY, Buffer.from([0xa0])], [BLOCKS, randomBytes(50)], [NODE_ID, randomBytes(8)], [9]]) {
    const peer = await Raw.open(url())
    const greeting = await peer.next(({ type }) => type === 'NODE_ID')
    peer.send(greeting.from, 0, 0, type, data)
    peer.send(greeting.from, 5, 1, type, data)
  }
})

attack('wrong answers to QUERY', async () => {
  for (const [type, data] of [[ERR], [QUERY, Buffer.from([0xa0])], [BLOCKS, randomBytes(500)], [BLOCKS], [NODE_ID, randomBytes(8)], [9]]) {
    const peer = await Raw.open(url())
    peer.answer(await peer.next(({ type }) => type === 'NODE_ID'), OK)
    peer.send(0, 1, 1, NODE_ID, randomBytes(8))
    peer.send(0, 2, 1, QUERY, Buffer.from([0xa0]))
    const request = await peer.next(({ type }) => type === 'QUERY')
    peer.send(request.from, 5, 1, type, data)
    peer.send(request.from, 6, 1, type, data)
    peer.send(request.from, 0, 0, type, data)
  }
})

attack('downloads broken off in the middle', async () => {
  for (const type of [ERR, NODE_ID, 9]) {
    const peer = await join()
    const first = await peer.ask(QUERY, Buffer.from([0xa0]))
    assert.equal(first.type, 'BLOCKS')
    peer.send(first.from, 0, 0, type)
    const again = await peer.ask(QUERY, Buffer.from([0xa0]))
    peer.send(again.from, 900, 1, type)
  }
})

attack('an answer to QUERY that has no end', async () => {
  const peer = await Raw.open(url())
  peer.answer(await peer.next(({ type }) => type === 'NODE_ID'), OK)
  peer.send(0, 1, 1, NODE_ID, randomBytes(8))
  peer.send(0, 2, 1, QUERY, Buffer.from([0xa0]))
  const bytes = feed8(block8(mallory, note('again')))
  let request = await peer.next(({ type }) => type === 'QUERY')
  for (let n = 0; n < 1000 && !peer.isClosed; n++) {
    request = await peer.answerAsking(request, BLOCKS, bytes).catch(() => request)
    if (request.type !== 'OK' || !request.asks) break
  }
})

attack('blocks that ask for more, and never send it', async () => {
  const peer = await join()
  const bytes = feed8(block8(mallory, note('again')))
  for (let n = 0; n < 1000; n++) peer.send(0, 2000 + n, 1, BLOCKS, bytes)
})

attack('the same block a thousand times', async () => {
  const bytes = feed8(block8(mallory, note('again')))
  const peer = await join()
  for (let n = 0; n < 1000; n++) peer.blocks(bytes)
})

attack('a chain that forks, and a second genesis', async () => {
  const twin = author()
  const [first, second] = [block8(twin, note('first')), block8(twin, note('second'))]
  const [left, right] = [block8(twin, note('left'), first), block8(twin, note('right'), first)]
  const peer = await join()
  peer.blocks(feed8(first, left))
  for (const bytes of [feed8(first, right), feed8(right), feed8(second), feed8(second, block8(twin, note('x'), second)), feed8(block8(twin, note('x'), right))]) peer.blocks(bytes)
})

attack('a hundred authors', async () => {
  const peer = await join()
  for (let n = 0; n < 100; n++) peer.blocks(feed8(block8(author(), note(`${n}`))))
})

attack('a block of 70,000 bytes', async () => {
  const peer = await join()
  peer.blocks(feed8(block8(author(), note('x'.repeat(70000)))))
})

attack('a hundred silent connections', async () => {
  for (let n = 0; n < 100; n++) await Raw.open(url()).catch(() => {})
})

attack('plain HTTP on the address of a room', async () => {
  for (const method of ['GET', 'POST', 'DELETE']) {
    const { status } = await fetch(`${httpUrl()}/pico/${room}`, { method })
    assert(status < 500, `${method} ${status}`)
  }
})

attack('rooms with odd names', async () => {
  const names = ['%2e%2e', 'A', 'ä', '%00', 'a/b', 'a'.repeat(65), '-a', '_', 'nostr', "x';drop table room;--", 'x'.repeat(5000)]
  for (const name of names) await Raw.open(roomUrl(encodeURI(name))).catch(() => {})
})

test('after all attacks a fresh node ends with the same', { timeout: 180000 }, async () => {
  for (const [a, b] of healthy) {
    await b.equals(a)
    const fresh = await a.constructor.boot()
    await fresh.connect(url())
    await fresh.equals(a)
    // And the room kept nothing else.
    const { got } = await join(fresh.constructor.generation)
    assert.deepEqual(got.length, (await a.feeds()).length)
  }
})
