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
  return [names, hasReducers, slices.some(slice => slice.required)]
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

// undefined: nobody minds. Otherwise the reason.
export function judge (now, auth, id, pubkey, created_at, kind, tags, content, sig) {
  const event = seen(id, pubkey, created_at, kind, tags, content, sig)
  if (hasReducers) current = { event, AUTHOR: pubkey, now, auth }
  for (let i = 0; i < slices.length; i++) {
    const slice = slices[i]
    const verdict = slice.filter({ event, AUTHOR: pubkey, state: slice.state, now, auth })
    if (typeof verdict === 'object' && verdict instanceof Promise) {
      return judgeSlowly({ event, AUTHOR: pubkey, now, auth }, i, verdict)
    }
    slice.accepts = !verdict
    if (verdict && verdict !== true) return reason(verdict)
  }
}

async function judgeSlowly (context, from, pending) {
  for (let i = from; i < slices.length; i++) {
    const slice = slices[i]
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
  for (const slice of slices) {
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
