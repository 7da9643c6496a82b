// Slices of pico rooms: registers them, and asks them. Both generations of picostore.

import { Buffer } from 'host:buffer.js'
import { toHex } from 'host:realm.js'
import * as cborg from 'host:cborg.js'
import * as msgpackr from 'host:msgpackr.js'
import * as picofeed from 'host:picofeed.js'
import * as picostack from 'host:picostack.js'
import * as picostore from 'host:picostore.js'

const { Block, Block1, toU8 } = picofeed
const { connect, Memory, neverExpires } = picostore

// Bundles of CommonJS files ask for packages in this way.
const packages = { cborg, msgpackr, picofeed, picostack, '@telamon/picostore': picostore, picostore, buffer: { Buffer } }
globalThis.require = name => {
  if (!Object.hasOwn(packages, name)) throw new Error(`Cannot find module '${name}'`)
  return packages[name]
}

// ---- registration
const slices = []
const store = {
  roots: Object.create(null),
  repo: Object.freeze({ allowDetached: false }),
  register
}

export async function start (main) {
  const register = main.default?.default ?? main.default
  if (typeof register !== 'function') throw new TypeError('The file has no default export that is a function')
  await register(store)
  if (!slices.length) throw new TypeError('The file registers no slice')
  return slices.map(slice => [
    slice.name,
    slice.generation,
    slice.generation === 2 ? [slice.rules.initialValue] : [],
    typeof slice.rules.trap === 'function',
    typeof slice.rules.weight === 'function',
    slice.usesRoot
  ])
}

function register (name, Class) {
  if (typeof name === 'string' && typeof Class === 'function' && Class.prototype instanceof Memory) {
    const rules = new Class(store, name)
    rules.name = name
    if (typeof rules.compute !== 'function') throw new TypeError(`${name} must implement compute`)
    add({ name, generation: 3, rules })
    return rules
  }
  // register(name, initialValue, filter, reducer, trap, sweep), or without a value, or one object
  let rules = name
  if (typeof name === 'string') {
    const [, ...rest] = arguments
    if (typeof rest[0] === 'function') rest.unshift(undefined)
    const [initialValue, filter, reducer, trap, sweep] = rest
    rules = { name, initialValue, filter, reducer, trap, sweep }
  }
  const isClass = /^class\b/.test(Function.prototype.toString.call(rules?.filter ?? Object))
  if (typeof rules?.filter !== 'function' || isClass) {
    throw new TypeError('register() takes a name and a class that extends Memory, or { name, filter, reducer }')
  }
  add({ name: rules.name, generation: 2, rules, usesRoot: ['filter', 'reducer', 'trap', 'sweep'].some(hook => seesRoot(rules[hook])) })
}

function add (slice) {
  if (typeof slice.name !== 'string' || !slice.name || slice.name.length > 64) throw new TypeError('A slice needs a name of 1 to 64 letters')
  if (slices.some(other => other.name === slice.name)) throw new TypeError(`Two slices are called ${slice.name}`)
  slices.push(slice)
  store.roots[slice.name] = slice.rules
}

// Whether a hook may look at the states of other slices, which cost something to fetch: not if it names what it takes.
function seesRoot (hook) {
  if (typeof hook !== 'function') return false
  const taken = /^[^(]*\(\s*\{([^}]*)\}\s*\)/.exec(Function.prototype.toString.call(hook))
  return !taken || /\broot|\.\.\./.test(taken[1])
}

// ---- reading what is kept: the relay serves these when nothing else is left to do
let waiting = []
let answering
const ask = (...request) => new Promise((resolve, reject) => { waiting.push({ request, resolve, reject }) })
export const forget = () => { waiting = []; answering = undefined }
export const asked = () => {
  answering = waiting.shift()
  return answering?.request
}
export const answer = value => answering.resolve(value)
const keyHex = key => toHex(toU8(key))
const idText = id => {
  if (id instanceof Uint8Array) return toHex(id)
  if (typeof id === 'string' || typeof id === 'number') return String(id)
  throw new TypeError('idOf must give bytes, a text or a number')
}
connect({
  object: async (name, id) => {
    const found = await ask('object', name, idText(id))
    return found && { value: found[0] }
  },
  lookup: (name, key) => ask('lookup', name, keyHex(key))
})
const latch = (name, id) => ask('expiry', name, idText(id))

// Rules may look at a value and must not change it.
function frozen (value) {
  if (value && typeof value === 'object' && !ArrayBuffer.isView(value)) {
    Object.freeze(value)
    for (const key in value) frozen(value[key])
  }
  return value
}

// ---- picostore 3
const context3 = (block, parent, AUTHOR, CHAIN, more) => ({
  block: new Block(...block),
  parentBlock: parent ? new Block(...parent) : null,
  AUTHOR,
  CHAIN,
  ...more
})

// ['accept', id, value, expiry or undefined, keys, signals], ['reject', why] or ['postpone', ms, why, retries]
export async function compute (index, block, parent, AUTHOR, CHAIN, payload, date) {
  const { rules, name } = slices[index]
  const context = context3(block, parent, AUTHOR, CHAIN, { root: name, payload, date })
  const id = await rules.idOf(context)
  const value = frozen(await rules.readState(idText(id)))
  let end
  const finish = result => {
    if (end) throw new Error(`Merge already rejected: ${end[1]}`)
    end = result
    return result
  }
  const keys = []
  const signals = []
  const draft = await rules.compute(value, {
    ...context,
    id,
    reject: why => finish(['reject', String(why ?? '')]),
    postpone: (millis, why, retries = 3) => finish(['postpone', Number(millis), String(why ?? ''), Number(retries)]),
    index: key => { keys.push(keyHex(key)) },
    lookup: async key => rules.lookup(key),
    signal: (type, payload) => { signals.push([type, payload]) }
  })
  if (end) return end
  const expiry = neverExpires(rules) ? Infinity : rules.expiresAt.length > 1 ? undefined : await expires(index, draft)
  return ['accept', idText(id), draft, expiry, keys, signals]
}

export async function expires (index, value) {
  const { rules, name } = slices[index]
  const at = await rules.expiresAt(value, latch)
  if (typeof at !== 'number' || Number.isNaN(at)) throw new TypeError(`Expected ${name}.expiresAt() to return number|Infinity, got ${at}`)
  return at
}

// [[id, value], ..]
export async function trap3 (index, type, payload) {
  const { rules } = slices[index]
  const changed = new Map()
  await rules.trap(type, payload, async (id, change) => {
    const key = idText(id)
    const value = await change(changed.has(key) ? changed.get(key) : await rules.readState(key))
    if (value === undefined) throw new Error('Expected mutate#callback() to return new state')
    changed.set(key, value)
  })
  return [...changed]
}

// ---- picostore 2
const context2 = (block, parent, AUTHOR, CHAIN) => ({
  block: block && new Block1(...block),
  parentBlock: parent ? new Block1(...parent) : null,
  AUTHOR: Buffer.from(AUTHOR, 'hex'),
  CHAIN: Buffer.from(CHAIN, 'hex')
})
const sync = (value, what) => {
  if (value instanceof Promise) throw new TypeError(`A ${what} of picostore 2 cannot be async`)
  return value
}

// undefined: accepted; true: no opinion; a text: why not
// The state is only given if it changed since the last time.
export function filter (index, block, parent, AUTHOR, CHAIN, changed, root) {
  const slice = slices[index]
  const { rules } = slice
  if (changed.length) slice.state = changed[0]
  const state = slice.state
  const verdict = sync(rules.filter({ ...context2(block, parent, AUTHOR, CHAIN), state, root }), 'filter')
  if (!verdict || verdict === true) return verdict || undefined
  return verdict instanceof Error ? verdict.message : String(verdict)
}

// [[state] or nothing, signals, marks]
export function reducer (index, block, parent, AUTHOR, CHAIN, state, root) {
  const { rules } = slices[index]
  if (typeof rules.reducer !== 'function') return [[], [], []]
  const signals = []
  const marks = []
  const next = sync(rules.reducer({
    ...context2(block, parent, AUTHOR, CHAIN),
    state,
    root,
    signal: (code, payload) => { signals.push([code, payload]) },
    mark: (payload, at) => { marks.push(mark(payload, at)) }
  }), 'reducer')
  return [[next], signals, marks]
}

const mark = (payload, at = Date.now()) => {
  if (!payload) throw new Error('PayloadExpected')
  return [payload, Number(at)]
}

export function trap2 (index, block, parent, AUTHOR, CHAIN, state, root, code, payload) {
  const { rules } = slices[index]
  const next = sync(rules.trap({ ...context2(block, parent, AUTHOR, CHAIN), code, payload, state, root }), 'trap')
  return next === undefined ? [] : [next]
}

// [[state] or nothing, marks, drops]
export async function sweep (index, block, parent, AUTHOR, CHAIN, state, root, payload, at, now, id) {
  const { rules, name } = slices[index]
  if (typeof rules.sweep !== 'function') throw new TypeError(`${name} marks blocks and has no sweep`)
  const marks = []
  const drops = []
  const next = await rules.sweep({
    ...context2(block, parent, AUTHOR, CHAIN),
    parentBlock: parent && new Block1(...parent),
    now,
    sig: Buffer.from(id, 'hex'),
    sweepAt: at,
    payload,
    rootState: root,
    state,
    mark: (more, at) => { marks.push(mark(more || payload, at)) },
    didMutate: () => {},
    drop: stop => { drops.push(stop ? toHex(toU8(stop.sig ?? stop)) : undefined) }
  })
  return [next === undefined ? [] : [next], marks, drops]
}

export async function weight (index, AUTHOR, CHAIN, head, blocks, bytes, foreign) {
  return slices[index].rules.weight({ AUTHOR, CHAIN, head, blocks, bytes, foreign })
}

