// What slices use of picostore: the classes they extend, and patches of values.

import { cborDecode, cborEncode } from 'host:realm.js'

// Set by host:pico.js: how a collection reads what is kept.
let reads
export const connect = functions => { reads = functions }

export const typeOf = value => {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return value instanceof Uint8Array ? 'u8' : typeof value
}
export const clone = value => cborDecode(cborEncode(value))

// One collection: its rules. `name` and `store` are there from the start.
export class Memory {
  initialValue = undefined
  #store

  constructor (store, name) {
    this.#store = store
    this.name = name
  }

  get store () { return this.#store }
  async idOf ({ AUTHOR }) { return AUTHOR }
  async compute () { throw new Error(`${this.constructor.name} must implement compute`) }
  async expiresAt () { return Infinity }

  async readState (id) {
    const found = await reads.object(this.name, id)
    return found ? found.value : clone(this.initialValue)
  }

  async hasState (id) { return !!(await reads.object(this.name, id)) }
  async lookup (key) { return reads.lookup(this.name, key) }
}
const plainExpiry = Memory.prototype.expiresAt
export const neverExpires = memory => memory.expiresAt === plainExpiry

// A collection whose payloads are differences to what is there.
export class DiffMemory extends Memory {
  initialValue = {}

  async compute (value, context) {
    const draft = applyPatch(value, context.payload)
    draft._updated = context.date
    draft._created ||= context.date
    await this.validate(draft, { ...context, previous: value })
    return draft
  }

  async validate () {}
}

// What has to be added to `from` to get `to`: the difference of numbers, members and elements one by one, all else as it
// is in `to`. Types do not change.
export function formatPatch (from, to) {
  if (from === undefined) return to
  const type = typeOf(from)
  if (type !== typeOf(to)) throw new Error(`Dynamic typeswitching not supported, ${type} ~> ${typeOf(to)}`)
  if (type === 'number') return to - from
  if (type === 'array') return longest(from, to, (_, i) => formatPatch(from[i], to[i]))
  if (type !== 'object') return to
  const changes = Object.keys(to).map(key => [key, formatPatch(from[key], to[key])])
  return { ...from, ...Object.fromEntries(changes) }
}

// The value with a patch added. A number that was not there becomes NaN, as in picostore.
export function applyPatch (value, patch) {
  const type = typeOf(patch)
  if (type === 'number') return value + patch
  if (type === 'array') {
    const base = value === undefined ? [] : value
    return longest(base, patch, (_, i) => applyPatch(base[i], patch[i]))
  }
  if (type !== 'object') return patch
  const base = value === undefined ? {} : value
  const changes = Object.keys(patch).map(key => [key, applyPatch(base[key], patch[key])])
  return { ...base, ...Object.fromEntries(changes) }
}

const longest = (a, b, each) => Array.from({ length: Math.max(a.length, b.length) }, each)

export function Store () { throw new Error('Store is not there for slices: use the one that the default export is given') }
export default Store
