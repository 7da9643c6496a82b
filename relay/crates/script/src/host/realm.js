// What every slice finds around it, before its first line runs: a clock that stands still, numbers that are the same
// each time, a console, texts as bytes. There is nothing here to read a file, a socket or the time of the machine with.

const native = globalThis.__native
delete globalThis.__native

const { includes, lower } = native
const { apply, construct, ownKeys, getPrototypeOf } = Reflect
const hexOf = Uint8Array.prototype.toHex
const bytesOf = Uint8Array.fromHex

export const toHex = u8 => apply(hexOf, u8, [])
export const fromHex = hex => apply(bytesOf, Uint8Array, [hex])
export const utf8 = text => native.utf8(text)
export const text = u8 => native.text(toHex(u8))
export const cborEncode = value => native.cborEncode(value)
export const cborDecode = u8 => native.cborDecode(toHex(u8))
export const msgpackEncode = value => native.msgpackEncode(value)
export const keepBuffer = prototype => native.keepBuffer(prototype)
export const msgpackDecode = u8 => native.msgpackDecode(toHex(u8))

const define = (object, name, value) =>
  Object.defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true })

// ---- time and chance
const RealDate = Date
function FixedDate (...parts) {
  if (!new.target) return new RealDate(native.now()).toString()
  return construct(RealDate, parts.length ? parts : [native.now()], new.target)
}
define(FixedDate, 'name', 'Date')
define(FixedDate, 'length', 7)
FixedDate.prototype = RealDate.prototype
define(RealDate.prototype, 'constructor', FixedDate)
define(FixedDate, 'now', () => native.now())
define(FixedDate, 'UTC', RealDate.UTC)
define(FixedDate, 'parse', RealDate.parse)
define(globalThis, 'Date', FixedDate)
define(Math, 'random', () => native.random())

// ---- work that the interpreter cannot interrupt: searching one long text for another, or putting it together
const WORK_MAX = 50_000_000
const COPIES_MAX = 10_000
// Longer texts are not handed to the relay: what it makes of them is not counted as memory of the script.
const COPIED_MAX = 1_000_000
const isObject = value => value !== null && (typeof value === 'object' || typeof value === 'function')
const { RegExp, RangeError } = globalThis
// Called with `this` as the first argument, whatever a slice does to functions later.
const uncurried = method => apply(Function.prototype.bind, Function.prototype.call, [method])
const original$includes = uncurried(String.prototype.includes)
const indexOf = uncurried(String.prototype.indexOf)
// What such a method does with long texts, and with what is no text.
function searchLong (name, original, symbol, self, needle, more) {
  const hasOwnWay = isObject(needle) && (symbol ? needle[symbol] !== undefined && needle[symbol] !== null : needle instanceof RegExp)
  if (self === undefined || self === null) return original(self, needle, more)
  const text = `${self}`
  if (!hasOwnWay && isObject(needle)) needle = `${needle}`
  if (!hasOwnWay && needle?.length > 64 && text.length * needle.length > WORK_MAX) {
    throw new RangeError(`${name}: the texts are too long`)
  }
  if (symbol === Symbol.replace && text.length > COPIES_MAX && typeof more !== 'function') {
    more = `${more}`
    if (original$includes(more, '$`') || original$includes(more, "$'")) {
      throw new RangeError(`${name}: the text is too long for such a replacement`)
    }
  }
  return original(text, needle, more)
}
const searching = (name, original, symbol) => ({
  [name] (needle, more) {
    if (typeof this === 'string' && typeof needle === 'string' && (needle.length <= 64 || this.length * needle.length <= WORK_MAX) && (symbol !== Symbol.replace || this.length <= COPIES_MAX)) {
      return original(this, needle, more)
    }
    return searchLong(name, original, symbol, this, needle, more)
  }
}[name])
for (const [name, symbol] of Object.entries({ indexOf: null, lastIndexOf: null, replace: Symbol.replace, replaceAll: Symbol.replace, split: Symbol.split })) {
  define(String.prototype, name, searching(name, uncurried(String.prototype[name]), symbol))
}
// The interpreter compares at each place, and looks for the first letter much faster; the relay faster still, in long texts.
define(String.prototype, 'includes', {
  includes (needle, from) {
    if (typeof this === 'string' && typeof needle === 'string' && needle.length <= 64) {
      if (from === undefined && this.length > 64 && this.length <= COPIED_MAX) {
        const is = includes(this, needle)
        if (is !== undefined) return is
      }
      return indexOf(this, needle, from) !== -1
    }
    return searchLong('includes', original$includes, null, this, needle, from)
  }
}.includes)
// It converts letter by letter; the relay does many at once.
const toLowerCase = uncurried(String.prototype.toLowerCase)
define(String.prototype, 'toLowerCase', {
  toLowerCase () {
    return typeof this === 'string' && this.length > 16 && this.length <= COPIED_MAX ? lower(this) ?? toLowerCase(this) : toLowerCase(this)
  }
}.toLowerCase)
const normalize = String.prototype.normalize
define(String.prototype, 'normalize', {
  normalize () {
    const text = this === undefined || this === null ? this : `${this}`
    // Marks are put in order one by one.
    if (text?.length > COPIES_MAX) throw new RangeError('normalize: the text is too long')
    return apply(normalize, text, arguments)
  }
}.normalize)
define(String, 'raw', {
  raw ({ raw }, ...values) {
    const { length } = raw
    let text = ''
    for (let i = 0; i < length; i++) text += i + 1 < length && i < values.length ? `${raw[i]}${values[i]}` : `${raw[i]}`
    return text
  }
}.raw)

// The same for arrays of billions of elements that are not there, and what only says that it has so many.
const LENGTH_MAX = 10_000_000
const { getOwnPropertyDescriptor } = Object
const { isArray } = Array
const { isView } = ArrayBuffer
function lengthOf (list) {
  if (list === null || typeof list !== 'object' && typeof list !== 'function') return 0
  if (isView(list)) return 0
  const own = getOwnPropertyDescriptor(list, 'length')
  if (own === undefined) return 'length' in list ? Infinity : 0
  return typeof own.value === 'number' ? own.value : Infinity
}
const guarded = (name, original, lengths) => ({
  [name] () {
    let length = lengthOf(this)
    if (lengths) for (let i = 0; i < arguments.length; i++) length += lengthOf(arguments[i])
    if (length > LENGTH_MAX) throw new RangeError(`${name}: the array is too long`)
    return apply(original, this, arguments)
  }
}[name])
for (const name of ['copyWithin', 'fill', 'join', 'lastIndexOf', 'pop', 'reverse', 'shift', 'slice', 'sort', 'splice', 'toLocaleString', 'toReversed', 'toSorted', 'toSpliced', 'unshift', 'with']) {
  define(Array.prototype, name, guarded(name, Array.prototype[name], false))
}
define(Array.prototype, 'concat', guarded('concat', Array.prototype.concat, true))
const { drop } = Iterator.prototype
define(Iterator.prototype, 'drop', {
  drop (count) {
    const whole = Number(count)
    if (whole > LENGTH_MAX) throw new RangeError('drop: too many')
    return apply(drop, this, [whole])
  }
}.drop)
function addAll (out, list, depth) {
  for (let i = 0; i < list.length; i++) {
    if (!(i in list)) continue
    if (depth >= 1 && isArray(list[i])) addAll(out, list[i], depth - 1)
    else out[out.length] = list[i]
  }
  return out
}
define(Array.prototype, 'flat', { flat (depth = 1) { return addAll([], this, depth) } }.flat)
define(Array.prototype, 'flatMap', {
  flatMap (each, self) {
    const out = []
    for (let i = 0; i < this.length; i++) if (i in this) addAll(out, [apply(each, self, [this[i], i, this])], 1)
    return out
  }
}.flatMap)

// ---- texts and bytes
define(globalThis, 'TextEncoder', class TextEncoder {
  get encoding () { return 'utf-8' }
  encode (text = '') { return utf8(String(text)) }
  encodeInto (source, into) {
    let read = 0, written = 0
    for (const letter of String(source)) {
      const bytes = utf8(letter)
      if (written + bytes.length > into.length) break
      into.set(bytes, written)
      read += letter.length
      written += bytes.length
    }
    return { read, written }
  }
})
define(globalThis, 'TextDecoder', class TextDecoder {
  get encoding () { return 'utf-8' }
  decode (bytes = new Uint8Array(0)) { return decoded(bytes) }
})

// What a TextDecoder makes of bytes: a byte order mark is not part of the text.
export function decoded (bytes) {
  bytes = asBytes(bytes)
  return text(bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes)
}

export function asBytes (value) {
  if (value instanceof Uint8Array) return value
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  throw new TypeError('Expected bytes')
}

// -1, 0 or 1, as texts are ordered.
export function compare (a, b) {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1
  return Math.sign(a.length - b.length)
}

// ---- console: lines go to the log of the relay, at debug
const show = value => {
  if (typeof value === 'string') return value
  if (value instanceof Error) return `${value.name}: ${value.message}`
  try { return JSON.stringify(value, (_, v) => v instanceof Uint8Array ? toHex(v) : typeof v === 'bigint' ? `${v}n` : v) ?? String(value) } catch { return String(value) }
}
const console = {}
for (const level of ['debug', 'log', 'info', 'warn', 'error']) {
  console[level] = (...values) => { native.log(values.map(show).join(' ')) }
}
console.trace = console.debug
define(globalThis, 'console', console)

// ---- values as they are kept: what is no plain object, as something that is; a BigInt as its digits
const objectPrototype = Object.prototype
const largest = 2n ** 64n
function plain (value) {
  if (typeof value === 'bigint') {
    if (value >= largest || value < -largest) throw new TypeError('A value is a large BigInt, which cannot be kept')
    return `${value}`
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return new Uint8Array(asBytes(value))
  if (Array.isArray(value)) return Array.from(value)
  if (value instanceof Map) {
    const members = Object.create(null)
    for (const [key, member] of value) {
      if (typeof key !== 'string') throw new TypeError('A Map can be kept if its keys are texts')
      members[key] = member
    }
    return members
  }
  const tag = apply(objectPrototype.toString, value, []).slice(8, -1)
  if (tag !== 'Object') throw new TypeError(`A value is a ${tag}, which cannot be kept`)
  const members = Object.create(null)
  for (const key of ownKeys(value)) {
    if (typeof key === 'string' && apply(objectPrototype.propertyIsEnumerable, value, [key])) members[key] = value[key]
  }
  return members
}
native.keep([hexOf, plain, objectPrototype, n => -1n - n, millis => new RealDate(millis)])

export { getPrototypeOf }
