// Buffer as node has it, as far as it is there without files and sockets: b4a and packages made for node want all of it.

import { asBytes, compare, fromHex, keepBuffer, text, toHex, utf8 } from 'host:realm.js'

const { Uint8Array, ArrayBuffer, DataView, RangeError, TypeError, BigInt } = globalThis
const fromBase64 = Uint8Array.fromBase64
const ENCODINGS = {
  utf8: 'utf8', 'utf-8': 'utf8', hex: 'hex', base64: 'base64', base64url: 'base64url', latin1: 'latin1', binary: 'latin1', ascii: 'ascii', ucs2: 'utf16le', 'ucs-2': 'utf16le', utf16le: 'utf16le', 'utf-16le': 'utf16le'
}

function encodingOf (name) {
  const known = Buffer.isEncoding(name ?? 'utf8') && ENCODINGS[`${name ?? 'utf8'}`.toLowerCase()]
  if (!known) throw new TypeError(`Unknown encoding: ${name}`)
  return known
}

// What is no hex ends it.
function hexBytes (hex) {
  let end = 0
  while (end + 1 < hex.length && isHex(hex.charCodeAt(end)) && isHex(hex.charCodeAt(end + 1))) end += 2
  return fromHex(end === hex.length ? hex : hex.slice(0, end))
}
const isHex = c => (c >= 48 && c <= 57) || (c >= 65 && c <= 70) || (c >= 97 && c <= 102)

// Both alphabets; what belongs to neither is passed over, and '=' ends it.
function base64Bytes (base64) {
  let plain = ''
  for (const letter of base64) {
    if (letter === '=') break
    if (letter === '-') plain += '+'
    else if (letter === '_') plain += '/'
    else if (/[A-Za-z0-9+/]/.test(letter)) plain += letter
  }
  if (plain.length % 4 === 1) plain = plain.slice(0, -1)
  return fromBase64.call(Uint8Array, plain)
}

function bytesOf (string, encoding) {
  switch (encodingOf(encoding)) {
    case 'hex': return hexBytes(string)
    case 'base64': case 'base64url': return base64Bytes(string)
    case 'latin1': case 'ascii': return Uint8Array.from({ length: string.length }, (_, i) => string.charCodeAt(i) & 255)
    case 'utf16le': return Uint8Array.from({ length: string.length * 2 }, (_, i) => string.charCodeAt(i >> 1) >> (8 * (i & 1)) & 255)
    default: return utf8(string)
  }
}

// The place that an argument means, between 0 and `max`.
const place = (value, missing, max) => {
  if (value === undefined) return missing
  value = Math.trunc(Number(value)) || 0
  return value < 0 ? 0 : value > max ? max : value
}

export class Buffer extends Uint8Array {
  static from (value, encodingOrOffset, length) {
    if (typeof value === 'string') return shared(bytesOf(value, encodingOrOffset))
    if (value instanceof ArrayBuffer) return new Buffer(value, encodingOrOffset, length)
    if (value === null || typeof value !== 'object') throw new TypeError('Buffer.from needs a text, bytes, or an array')
    if (value.type === 'Buffer' && Array.isArray(value.data)) return new Buffer(value.data)
    return new Buffer(value instanceof DataView ? asBytes(value) : value)
  }

  static alloc (size, fill, encoding) {
    const all = new Buffer(sizeOf(size))
    return fill === undefined || fill === 0 ? all : all.fill(fill, encoding)
  }

  // Nothing is left here by others.
  static allocUnsafe (size) { return new Buffer(sizeOf(size)) }
  static allocUnsafeSlow (size) { return new Buffer(sizeOf(size)) }
  static isBuffer (value) { return value instanceof Buffer }
  static isEncoding (name) { return typeof name === 'string' && Object.hasOwn(ENCODINGS, name.toLowerCase()) }
  // By the length of the text: what in it is no hex or base64 counts.
  static byteLength (value, encoding) {
    if (typeof value !== 'string') return value.byteLength
    switch (encodingOf(encoding)) {
      case 'hex': return value.length >> 1
      case 'base64': case 'base64url': return (value.length - (value.endsWith('==') ? 2 : value.endsWith('=') ? 1 : 0)) * 3 >> 2
      default: return bytesOf(value, encoding).length
    }
  }

  static compare (a, b) { return compare(a, b) }
  static concat (list, length) {
    length ??= list.reduce((sum, part) => sum + part.length, 0)
    const all = new Buffer(sizeOf(length))
    let at = 0
    for (const part of list) {
      if (at >= all.length) break
      all.set(part.length > all.length - at ? part.subarray(0, all.length - at) : part, at)
      at += part.length
    }
    return all
  }

  get parent () { return this.buffer }
  get offset () { return this.byteOffset }

  toString (encoding, from, to) {
    const part = from === undefined && to === undefined ? this : this.slice(place(from, 0, this.length), place(to, this.length, this.length))
    switch (encodingOf(encoding)) {
      case 'hex': return toHex(part)
      case 'base64': return part.toBase64()
      case 'base64url': return part.toBase64({ alphabet: 'base64url', omitPadding: true })
      case 'latin1': return letters(part, n => n)
      case 'ascii': return letters(part, n => n & 127)
      case 'utf16le': return letters({ length: part.length >> 1 }, (_, i) => part[2 * i] | part[2 * i + 1] << 8)
      default: return text(part)
    }
  }

  toLocaleString (encoding, from, to) { return this.toString(encoding, from, to) }
  toJSON () { return { type: 'Buffer', data: Array.from(this) } }
  equals (other) { return compare(this, asBytes(other)) === 0 }
  compare (other, from = 0, to = other.length, ownFrom = 0, ownTo = this.length) {
    return compare(this.subarray(ownFrom, ownTo), other.subarray(from, to))
  }

  // The same memory, as in node and not as in arrays.
  slice (from, to) { return this.subarray(from, to) }
  copy (target, at, from, to) {
    at = place(at, 0, target.length)
    from = place(from, 0, this.length)
    to = place(to, this.length, this.length)
    const part = this.subarray(from, Math.max(from, Math.min(to, from + target.length - at)))
    target.set(part, at)
    return part.length
  }

  write (string, at, length, encoding) {
    if (typeof at === 'string') [encoding, at, length] = [at]
    if (typeof length === 'string') [encoding, length] = [length]
    const from = offset(at ?? 0, 0, this.length)
    let bytes = bytesOf(string, encoding)
    const room = Math.min(place(length, this.length - from, this.length - from), this.length - from)
    if (bytes.length > room) {
      let end = room
      // No letter is written in part.
      if (encodingOf(encoding) === 'utf8') while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--
      if (encodingOf(encoding) === 'utf16le') end &= ~1
      bytes = bytes.subarray(0, end)
    }
    this.set(bytes, from)
    return bytes.length
  }

  fill (value, from, to, encoding) {
    if (typeof from === 'string') [encoding, from, to] = [from]
    if (typeof to === 'string') [encoding, to] = [to]
    from = place(from, 0, this.length)
    to = place(to, this.length, this.length)
    if (from >= to) return this
    if (typeof value === 'string') {
      const bytes = bytesOf(value, encoding)
      if (value && !bytes.length) throw new TypeError(`${value} is nothing to fill with`)
      value = bytes
    }
    if (typeof value !== 'object') return super.fill(Number(value) & 255, from, to)
    if (!value.length) return super.fill(0, from, to)
    for (let at = from; at < to; at += value.length) this.set(value.subarray(0, Math.min(value.length, to - at)), at)
    return this
  }

  indexOf (value, from, encoding) { return search(this, value, from, encoding, 1) }
  lastIndexOf (value, from, encoding) { return search(this, value, from, encoding, -1) }
  includes (value, from, encoding) { return this.indexOf(value, from, encoding) !== -1 }

  swap16 () { return swap(this, 2) }
  swap32 () { return swap(this, 4) }
  swap64 () { return swap(this, 8) }

  readUIntBE (at, length) { return readUnsigned(this, at, length, i => length - 1 - i) }
  readUIntLE (at, length) { return readUnsigned(this, at, length, i => i) }
  readIntBE (at, length) { return signed(this.readUIntBE(at, length), length) }
  readIntLE (at, length) { return signed(this.readUIntLE(at, length), length) }
  writeUIntBE (value, at, length) { return writeWhole(this, value, at, length, i => length - 1 - i, false) }
  writeUIntLE (value, at, length) { return writeWhole(this, value, at, length, i => i, false) }
  writeIntBE (value, at, length) { return writeWhole(this, value, at, length, i => length - 1 - i, true) }
  writeIntLE (value, at, length) { return writeWhole(this, value, at, length, i => i, true) }
}

const shared = bytes => new Buffer(bytes.buffer, bytes.byteOffset, bytes.length)

function sizeOf (size) {
  if (typeof size !== 'number' || !(size >= 0)) throw new RangeError(`${size} is no size of a Buffer`)
  return size
}

function letters (bytes, code) {
  const parts = []
  for (let i = 0; i < bytes.length; i++) parts.push(String.fromCharCode(code(bytes[i], i)))
  return parts.join('')
}

function offset (at, length, max) {
  if (!Number.isInteger(at) || at < 0 || at + length > max) throw new RangeError(`The offset ${at} is out of range`)
  return at
}

function search (bytes, value, from, encoding, step) {
  if (typeof from === 'string') [encoding, from] = [from]
  if (typeof value === 'number') value = [value & 255]
  else if (typeof value === 'string') value = bytesOf(value, encoding)
  from = from === undefined ? (step > 0 ? 0 : bytes.length) : Math.trunc(Number(from)) || 0
  if (from < 0) from += bytes.length
  const last = bytes.length - value.length
  if (from < 0 && step < 0) return -1
  for (let at = step > 0 ? Math.max(from, 0) : Math.min(from, last); at >= 0 && at <= last; at += step) {
    let same = 0
    while (same < value.length && bytes[at + same] === value[same]) same++
    if (same === value.length) return at
  }
  return step > 0 && !value.length ? Math.min(from, bytes.length) : -1
}

function swap (bytes, width) {
  if (bytes.length % width) throw new RangeError(`The length is no multiple of ${width}`)
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse()
  return bytes
}

function width (length) {
  if (!Number.isInteger(length) || length < 1 || length > 6) throw new RangeError('An integer has 1 to 6 bytes')
  return length
}

function readUnsigned (bytes, at, length, power) {
  offset(at, width(length), bytes.length)
  let sum = 0
  for (let i = 0; i < length; i++) sum += bytes[at + i] * 2 ** (8 * power(i))
  return sum
}

const signed = (value, length) => value >= 2 ** (8 * length - 1) ? value - 2 ** (8 * length) : value

function writeWhole (bytes, value, at, length, power, isSigned) {
  const size = 2 ** (8 * width(length))
  inRange(value = Number(value), isSigned ? -size / 2 : 0, (isSigned ? size / 2 : size) - 1)
  offset(at, length, bytes.length)
  value = Math.trunc(value)
  if (value < 0) value += size
  for (let i = 0; i < length; i++) bytes[at + i] = Math.floor(value / 2 ** (8 * power(i))) % 256
  return at + length
}

function inRange (value, min, max) {
  if (value < min || value > max) throw new RangeError(`The value ${value} is out of range, which is ${min} to ${max}`)
}

const define = (name, value) =>
  Object.defineProperty(Buffer.prototype, name, { value, writable: true, enumerable: false, configurable: true })
const view = (bytes, at, length) => {
  offset(at, length, bytes.length)
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
const KINDS = [['Int8', 1], ['Uint8', 1], ['Int16', 2], ['Uint16', 2], ['Int32', 4], ['Uint32', 4], ['BigInt64', 8], ['BigUint64', 8], ['Float32', 4], ['Float64', 8]]
for (const [kind, length] of KINDS) {
  const isBig = kind.startsWith('Big')
  const isFloat = kind.startsWith('Float')
  const bits = isBig ? BigInt(8 * length) : 8 * length
  const one = isBig ? 1n : 1
  const two = isBig ? 2n : 2
  const isSigned = !kind.includes('Ui')
  const min = isSigned ? -(two ** (bits - one)) : two - two
  const max = two ** (isSigned ? bits - one : bits) - one
  for (const [end, isLittle] of length === 1 ? [['', true]] : [['BE', false], ['LE', true]]) {
    const named = { Float32: 'Float', Float64: 'Double' }[kind] ?? kind
    const read = function (at = 0) { return view(this, at, length)[`get${kind}`](at, isLittle) }
    const write = function (value, at = 0) {
      if (!isFloat) inRange(isBig ? value : value = Number(value), min, max)
      view(this, at, length)[`set${kind}`](at, value, isLittle)
      return at + length
    }
    for (const name of new Set([named, named.replace('Uint', 'UInt')])) {
      define(`read${name}${end}`, read)
      define(`write${name}${end}`, write)
    }
  }
}
for (const name of ['readUIntBE', 'readUIntLE', 'writeUIntBE', 'writeUIntLE']) define(name.replace('UInt', 'Uint'), Buffer.prototype[name])

Object.defineProperty(globalThis, 'Buffer', { value: Buffer, writable: true, enumerable: false, configurable: true })
export default { Buffer }

keepBuffer(Buffer.prototype)
