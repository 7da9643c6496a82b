// A peer of bare frames, who may break every rule; and feeds byte by byte, who may too.

import { connect as tcp } from 'node:net'
import { randomBytes } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519'
import WebSocket from 'ws'
import { parse, until } from './node.mjs'

export const [OK, QUERY, BLOCKS, NODE_ID, ERR] = [0, 1, 2, 3, 255]

/** QUERY parameters of each generation. */
const PARAMS = { 1: Buffer.from('de0000', 'hex'), 2: Buffer.from('a0', 'hex') }

const peers = new Set()

export function closeRaw () {
  for (const peer of peers) peer.socket.terminate()
  peers.clear()
}

/** What relays sent to raw peers although no peer may be sent that. */
export const rawFaults = []

export class Raw {
  frames = []
  pings = 0
  port = 0
  isClosed = false

  static async open (url) {
    const peer = new Raw()
    peers.add(peer)
    peer.socket = new WebSocket(url)
    peer.socket.on('message', (data, binary) => {
      if (!binary || data.length < 6) rawFaults.push(`${binary ? 'short' : 'text'} frame ${data.toString('hex')}`)
      else peer.frames.push(parse(data))
    })
    peer.socket.on('error', () => {})
    peer.closed = new Promise(resolve => peer.socket.once('close', code => {
      peer.isClosed = true
      resolve(code)
    }))
    await new Promise((resolve, reject) => peer.socket.once('open', resolve).once('error', reject))
    return peer
  }

  /** Open, and introduced as a node of this generation: NODE_ID both ways, QUERY both ways, nothing to give. */
  static async join (url, generation, { id = randomBytes(8), give = [] } = {}) {
    const peer = await Raw.open(url)
    const greeted = peer.next(frame => frame.type === 'NODE_ID').then(greeting => peer.answer(greeting, OK))
    await peer.ask(NODE_ID, id)
    const got = await peer.query(generation)
    await greeted
    await peer.serve(give)
    return Object.assign(peer, { got })
  }

  /** All feeds of the room. */
  async query (generation) {
    const feeds = []
    let answer = await this.ask(QUERY, PARAMS[generation])
    while (answer.type === 'BLOCKS') {
      feeds.push(Buffer.from(answer.data))
      if (!answer.asks) return feeds
      answer = await this.answerAsking(answer, OK)
    }
    return feeds
  }

  /** Answers the relay's QUERY with these feeds. */
  async serve (feeds) {
    let request = await this.next(frame => frame.type === 'QUERY')
    if (!feeds.length) return this.answer(request, OK)
    for (const [at, feed] of feeds.entries()) {
      if (at + 1 === feeds.length) return this.answer(request, BLOCKS, feed)
      request = await this.answerAsking(request, BLOCKS, feed)
    }
  }

  send (to, from, flags, type, data = Buffer.alloc(0)) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame(to, from, flags, type, data))
  }

  /** Unasked, as live blocks are. */
  blocks (feed) { this.send(0, 0, 0, BLOCKS, feed) }

  answer (request, type, data) { this.send(request.from, 0, 0, type, data) }

  async ask (type, data) { return this.#reply(0, type, data) }

  async answerAsking (request, type, data) { return this.#reply(request.from, type, data) }

  async #reply (to, type, data) {
    const port = ++this.port
    this.send(to, port, 1, type, data)
    return this.next(frame => frame.to === port)
  }

  /** Takes the first frame that fits out of those that came, or comes to be. */
  async next (fits) {
    await until(() => this.frames.some(fits) || this.isClosed, 'the frame a raw peer waits for')
    const at = this.frames.findIndex(fits)
    if (at < 0) throw new Error('closed')
    return this.frames.splice(at, 1)[0]
  }

  /** Sends bytes as one binary message, whatever they are. */
  binary (bytes) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(bytes)
  }

  drop () { this.socket.terminate() }
}

export function frame (to, from, flags, type, data = Buffer.alloc(0)) {
  const head = Buffer.alloc(6)
  head.writeUInt16BE(to, 0)
  head.writeUInt16BE(from, 2)
  head[4] = flags
  head[5] = type
  return Buffer.concat([head, data])
}

/** A TCP connection after the WebSocket upgrade, or before it when `path` is null. */
export async function bareSocket (port, path) {
  const socket = tcp(port, '127.0.0.1')
  socket.on('error', () => {})
  await new Promise(resolve => socket.once('connect', resolve))
  if (path) {
    const key = randomBytes(16).toString('base64')
    socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`)
    await new Promise(resolve => socket.once('data', resolve))
  }
  return socket
}

/** Somebody with a key. */
export function author () {
  const seed = randomBytes(32)
  return { seed, key: Buffer.from(ed25519.getPublicKey(seed)) }
}

/** Unsigned LEB128. */
export function varint (number) {
  const bytes = []
  for (; number >= 0x80; number = Math.floor(number / 128)) bytes.push(number % 128 + 128)
  return Buffer.from([...bytes, number])
}

/** A block of generation 2; `block.subarray(0, 64)` is its id. */
export function block8 ({ seed, key }, body, parent, { headers, size } = {}) {
  const parts = headers ?? [[1, key], ...(parent ? [[2, parent.subarray(0, 64)]] : [])]
  const data = Buffer.concat([...parts.flatMap(([id, value]) => [Buffer.from([0, id]), value]), body])
  const signed = Buffer.concat([size ?? varint(data.length), data])
  return Buffer.concat([ed25519.sign(signed, seed), signed])
}

export const feed8 = (...blocks) => Buffer.concat([Buffer.from('PIC0'), ...blocks])

/** A block of generation 1, without its key. */
export function block3 ({ seed }, body, parent) {
  const size = Buffer.alloc(4)
  size.writeUInt32BE(body.length)
  const signed = Buffer.concat([parent ? parent.subarray(0, 64) : Buffer.alloc(64), size, body])
  return Buffer.concat([ed25519.sign(signed, seed), signed])
}

export const feed3 = ({ key }, ...blocks) => Buffer.concat([Buffer.from('K0.'), key, ...blocks])
