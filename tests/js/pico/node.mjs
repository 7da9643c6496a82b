// What the nodes of both generations have in common here: a WebSocket whose frames are recorded, and a way to compare.

import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'

const { wsWire } = createRequire(import.meta.url)('piconet')

const TYPES = { 0: 'OK', 1: 'QUERY', 2: 'BLOCKS', 3: 'NODE_ID', 255: 'ERR' }

/** `to u16, from u16, flags u8, type u8, data`. */
export function parse (frame) {
  if (frame.length < 6) return { type: 'short', size: frame.length }
  return {
    to: frame.readUInt16BE(0),
    from: frame.readUInt16BE(2),
    asks: (frame[4] & 1) === 1,
    type: TYPES[frame[5]] ?? `unknown ${frame[5]}`,
    data: frame.subarray(6)
  }
}

/**
 * How long nodes may take: on a machine with nothing else to do, a new one needs some seconds for a hundred chains, as
 * picostore takes them one by one; on a busy one several times that.
 */
export const PATIENCE = 30000

/** Waits until it is true. */
export async function until (condition, what, milliseconds = 10000) {
  const end = Date.now() + milliseconds
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`never: ${typeof what === 'function' ? await what() : what}`)
    await sleep(5)
  }
}

const running = new Set()

/** Takes all nodes off the wire. */
export function stopAll () {
  for (const node of running) node.drop()
  running.clear()
}

/** A kernel that can go online. The kernel has `wire()`, `notes()` and `feeds()`. */
export const online = Kernel => class extends Kernel {
  /** Frames since the last connect, both ways. */
  frames = []

  /** Resolves when the room has answered our QUERY, and we have answered the relay's. */
  async connect (url) {
    running.add(this)
    this.frames = []
    const socket = this.socket = new WebSocket(url)
    const send = socket.send.bind(socket)
    socket.send = data => {
      this.frames.push({ by: 'node', ...parse(data) })
      send(data)
    }
    socket.on('message', (data, binary) => {
      this.frames.push(binary ? { by: 'relay', ...parse(data) } : { by: 'relay', type: 'text' })
    })
    this.closed = new Promise(resolve => socket.once('close', resolve))
    wsWire(this.wire(), socket)
    socket.on('error', () => {})
    await until(() => this.answered('node', 'relay'), () => `an answer to QUERY; ${this.story()}`, PATIENCE)
    await until(() => this.answered('relay', 'node'), () => `an answer to the relay's QUERY; ${this.story()}`, PATIENCE)
    return this
  }

  /** Is the answer to this side's QUERY complete? */
  answered (asker, other) {
    const sent = (by, fits) => this.frames.find(frame => frame.by === by && fits(frame))
    let port = sent(asker, ({ type }) => type === 'QUERY')?.from
    while (port) {
      const answer = sent(other, ({ to }) => to === port)
      if (!answer?.asks) return Boolean(answer)
      port = sent(asker, ({ to }) => to === answer.from)?.from
    }
    return false
  }

  /** What the relay must not send, as it hurts nodes. */
  faults () {
    const magic = this.constructor.generation === 1 ? 'K0.' : 'PIC0'
    return this.frames.filter(({ by }) => by === 'relay').flatMap(frame => {
      if (!['OK', 'QUERY', 'BLOCKS', 'NODE_ID', 'ERR'].includes(frame.type)) return [frame.type]
      if (frame.type === 'BLOCKS' && !frame.data.toString('latin1').startsWith(magic)) return ['blocks of the other generation']
      if (!frame.asks && frame.from !== 0) return ['a return port where no reply is expected']
      if (frame.to === 0) return []
      const asked = this.frames.filter(({ by, asks, from }) => by === 'node' && asks && from === frame.to).length
      const answered = this.frames.filter(({ by, to }) => by === 'relay' && to === frame.to).length
      return answered > asked ? [`${answered} answers to port ${frame.to}`] : []
    })
  }

  /** Frames in short, for failures. */
  story () {
    return this.frames.map(({ by, to, from, asks, type }) => `${by} ${type} ${to}<${from}${asks ? '?' : ''}`).join(', ')
  }

  /** Blocks that came unasked. */
  heard () {
    return this.frames.filter(({ by, to, type }) => by === 'relay' && to === 0 && type === 'BLOCKS').length
  }

  /** The socket goes without a close frame. */
  drop () {
    this.socket?.terminate()
  }

  /** The socket goes as it should. */
  leave () {
    this.socket.close()
    return this.closed
  }

  async knows (author, ...texts) {
    await until(() => {
      const notes = this.notes()[author.pk64] ?? []
      return texts.every(text => notes.includes(text))
    }, () => `${texts} of ${author.pk64.slice(0, 8)} known to ${this.pk64.slice(0, 8)}: ${JSON.stringify(this.notes())}; ${this.story()}`, PATIENCE)
  }

  /** All it has, in bytes: state and feeds in the order of their keys. */
  async snapshot () {
    const notes = this.notes()
    const state = Object.keys(notes).sort().map(key => [key, notes[key]])
    return JSON.stringify(state) + '\n' + (await this.feeds()).join('\n')
  }

  /** Waits until it has what the other has. */
  async equals (other) {
    await until(async () => await this.snapshot() === await other.snapshot(), async () => `the same state\n${await this.snapshot()}\nas\n${await other.snapshot()}\n${this.story()}`, PATIENCE)
  }
}
