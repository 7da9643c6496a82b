// The part of picofeed that slices use: bytes, and blocks to read. Feeds are written and signed by apps, not by rules.

import { Buffer } from 'host:buffer.js'
import { asBytes, decoded, fromHex as bytesOf, toHex as hexOf, utf8 } from 'host:realm.js'

export const symFeed = Symbol.for('PIC0::Feed')
export const symBlock = Symbol.for('PIC0::Block')
export const symInspect = Symbol.for('nodejs.util.inspect.custom')
export const PIC0 = utf8('PIC0')
export const HDR_AUTHOR = 1
export const HDR_PSIG = 2

export function au8 (bytes, length) {
  if (!(bytes instanceof Uint8Array) || (length > 0 && bytes.length !== length)) throw new Error('Expected Uint8Array')
  return bytes
}
export const toHex = (bytes, limit = 0) => hexOf(limit ? bytes.subarray(0, limit) : bytes)
export const fromHex = hex => bytesOf(hex)
export const s2b = string => utf8(string)
export const b2s = bytes => decoded(bytes)
export const cmp = (a, b) => au8(a).length === au8(b).length && toHex(a) === toHex(b)
export const cpy = (to, from, offset = 0) => { to.set(from, offset); return to }
export function toU8 (value) {
  if (typeof value !== 'string') return asBytes(value)
  return /^[0-9a-f]+$/i.test(value) ? bytesOf(value) : utf8(value)
}
export const usize = n => Number.isInteger(n) && n > 0
export const isFeed = value => !!value?.[symFeed]
export const isBlock = value => !!value?.[symBlock]

// A block that was verified. Both generations have their names for its parts.
export class Block {
  constructor (id, key, psig, body, bytes) {
    this.id = id
    this.key = key
    this.genesis = psig === undefined
    this.psig = psig ?? new Uint8Array(64)
    this.body = body
    this.buffer = bytes
  }

  get [symBlock] () { return true }
  get sig () { return this.id }
  // As picofeed counts it: two bytes more for each header, of which are the author and the block before.
  get size () {
    const parent = this.genesis ? 0 : 66
    const author = this.buffer.length - 64 - this.body.length - parent > 33
    return this.body.length + (parent ? 2 : 0) + (author ? 2 : 0)
  }

  get blockSize () { return this.buffer.length }
  get end () { throw new Error('Block.end deprecated') }
  verify (key = this.key) { return cmp(toU8(key), this.key) }
  toString () { return JSON.stringify({ key: toHex(this.key, 3), sig: toHex(this.id, 4), size: this.size }) }
}

export class Block1 {
  constructor (id, key, psig, body, bytes) {
    this.sig = new Buffer(id)
    this.key = new Buffer(key)
    this.isGenesis = psig === undefined
    this.parentSig = new Buffer(psig ?? 64)
    this.body = new Buffer(body)
    this.buffer = new Buffer(bytes)
  }

  get [symBlock] () { return true }
  get id () { return this.sig }
  get size () { return this.body.length }
  get genesis () { return this.isGenesis }
  get psig () { return this.parentSig }
  verify () { return true }
}

const absent = name => function () { throw new Error(`${name} is not there for slices`) }
export const Feed = absent('Feed')
Feed.signPair = absent('Feed.signPair')
Feed.from = absent('Feed.from')
Feed.isFeed = isFeed
export const feedFrom = absent('feedFrom')
export const signPair = absent('signPair')
export const generatePrivateKey = absent('generatePrivateKey')
export const getPublicKey = absent('getPublicKey')
export const macrofilm = absent('macrofilm')
export const hexdump = absent('hexdump')
export const createBlockSegment = absent('createBlockSegment')
export default Feed
