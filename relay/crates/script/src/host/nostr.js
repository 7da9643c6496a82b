// Slices for nostr events: registers them, and asks them.

const { Promise, WeakSet, ArrayBuffer: { isView }, JSON: { parse }, Object: { freeze, keys } } = globalThis
const slices = []
let hasReducers = false

export function start (main) {
  if (typeof main.default !== 'function') throw new TypeError('The file has no default export that is a function')
  main.default({ register })
  if (!slices.length) throw new TypeError('The file registers no slice')
  const names = slices.map(slice => slice.name)
  hasReducers = slices.some(slice => slice.reducer)
  return [names, hasReducers, slices.map(slice => slice.required)]
}

function register (slice, more) {
  if (typeof slice === 'string') slice = { ...more, name: slice }
  if (typeof slice?.name !== 'string' || !slice.name) throw new TypeError('A slice needs a name')
  if (slices.some(other => other.name === slice.name)) throw new TypeError(`Two slices are called ${slice.name}`)
  const { name, filter, reducer, initialValue, required } = slice
  if (typeof filter !== 'function') throw new TypeError(`Slice ${name} needs a filter`)
  if (reducer !== undefined && typeof reducer !== 'function') throw new TypeError(`The reducer of ${name} is no function`)
  slices.push({ name, filter: filter.bind(slice), reducer: reducer?.bind(slice), initialValue, required: !!required, state: frozen(initialValue), accepts: false })
}

// The slice that is asked, or was asked last.
export let at = 0

// What makes the question about the event that is being judged, for those who take it in afterwards.
let current

// States may be looked at and not changed: a filter that refuses an event must not leave anything behind. What was frozen
// before is not visited again, so a new state that shares most with the old one costs what is new in it.
const isFrozen = new WeakSet()
function frozen (value) {
  if (value === null || typeof value !== 'object' || isView(value) || isFrozen.has(value)) return value
  isFrozen.add(freeze(value))
  for (const key of keys(value)) {
    const member = value[key]
    if (typeof member === 'object') frozen(member)
  }
  return value
}

// An event as one filter sees it: what it does to it, no other sees. Its tags are read when somebody asks for them; most only
// look at the kind.
const seen = (id, pubkey, created_at, kind, json, content, sig) => {
  let tags
  return {
    id,
    pubkey,
    created_at,
    kind,
    get tags () {
      if (json !== undefined) {
        tags = parse(json)
        json = undefined
      }
      return tags
    },
    set tags (value) {
      tags = value
      json = undefined
    },
    content,
    sig
  }
}

const question = (event, AUTHOR, state, now, auth) => ({ event, AUTHOR, state, now, auth })

// The interpreter keeps the shape of an object only while there is one that has it: these are all on the way to those above.
const shapes = [seen(), question()].flatMap(object => {
  const members = Object.entries(Object.getOwnPropertyDescriptors(object))
  return members.map((_, at) => Object.defineProperties({}, Object.fromEntries(members.slice(0, at + 1))))
})

// undefined: nobody minds. Otherwise the reason. `skipped` says for each slice that it is not asked; without, all are.
export function judge (skipped, now, auth, id, pubkey, created_at, kind, tags, content, sig) {
  if (slices.length === 1 && !hasReducers) {
    // As most files are: nobody else looks, so the least is done.
    at = 0
    if (skipped !== undefined && skipped[0]) return
    const verdict = slices[0].filter(question(seen(id, pubkey, created_at, kind, tags, content, sig), pubkey, slices[0].state, now, auth))
    if (typeof verdict === 'object' && verdict instanceof Promise) return verdict.then(reasonOf)
    return reasonOf(verdict)
  }
  const ask = slice => question(seen(id, pubkey, created_at, kind, tags, content, sig), pubkey, slice.state, now, [...auth])
  if (hasReducers) current = ask
  for (at = 0; at < slices.length; at++) {
    const slice = slices[at]
    slice.accepts = false
    if (skipped !== undefined && skipped[at]) continue
    const verdict = slice.filter(ask(slice))
    if (typeof verdict === 'object' && verdict instanceof Promise) return judgeSlowly(skipped, ask, verdict)
    slice.accepts = !verdict
    if (verdict && verdict !== true) return reason(verdict)
  }
}

const reasonOf = verdict => verdict && verdict !== true ? reason(verdict) : undefined

async function judgeSlowly (skipped, ask, pending) {
  for (; at < slices.length; at++) {
    const slice = slices[at]
    slice.accepts = false
    if (skipped !== undefined && skipped[at]) continue
    const verdict = await (pending ?? slice.filter(ask(slice)))
    pending = undefined
    slice.accepts = !verdict
    if (verdict && verdict !== true) return reason(verdict)
  }
}

const reason = verdict => verdict instanceof Error ? verdict.message : String(verdict)

// Every slice that accepted the event takes it into its state. All of them, or none.
export async function reduce () {
  const next = []
  for (at = 0; at < slices.length; at++) {
    const slice = slices[at]
    if (!slice.reducer || !slice.accepts) continue
    const state = await slice.reducer(current(slice))
    if (state === undefined) throw new TypeError(`The reducer of ${slice.name} returned no state`)
    next.push([slice, frozen(state)])
  }
  for (const [slice, state] of next) slice.state = state
  return next.length > 0
}

export const save = () => {
  const states = Object.create(null)
  for (const slice of slices) if (slice.reducer) states[slice.name] = slice.state
  return states
}

export const restore = states => {
  for (const slice of slices) if (slice.reducer && Object.hasOwn(states, slice.name)) slice.state = frozen(states[slice.name])
}
