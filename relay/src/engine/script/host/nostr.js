// Slices for nostr events: registers them, and asks them.

const { Promise, JSON: { parse } } = globalThis
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
  slices.push({ name, filter: filter.bind(slice), reducer: reducer?.bind(slice), initialValue, required: !!required, state: initialValue, accepts: false })
}

// The slice that is asked, or was asked last.
export let at = 0

// What is being judged, for those who take it in afterwards.
let current

// An event as the filters of one call see it. Its tags are read when somebody asks for them; most only look at the kind.
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
  const event = seen(id, pubkey, created_at, kind, tags, content, sig)
  if (hasReducers) current = { event, AUTHOR: pubkey, now, auth }
  for (at = 0; at < slices.length; at++) {
    const slice = slices[at]
    slice.accepts = false
    if (skipped !== undefined && skipped[at]) continue
    const verdict = slice.filter(question(event, pubkey, slice.state, now, auth))
    if (typeof verdict === 'object' && verdict instanceof Promise) {
      return judgeSlowly(skipped, { event, AUTHOR: pubkey, now, auth }, verdict)
    }
    slice.accepts = !verdict
    if (verdict && verdict !== true) return reason(verdict)
  }
}

async function judgeSlowly (skipped, context, pending) {
  for (; at < slices.length; at++) {
    const slice = slices[at]
    slice.accepts = false
    if (skipped !== undefined && skipped[at]) continue
    const verdict = await (pending ?? slice.filter({ ...context, state: slice.state }))
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
    const state = await slice.reducer({ ...current, state: slice.state })
    if (state === undefined) throw new TypeError(`The reducer of ${slice.name} returned no state`)
    next.push([slice, state])
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
  for (const slice of slices) if (slice.reducer && Object.hasOwn(states, slice.name)) slice.state = states[slice.name]
}
