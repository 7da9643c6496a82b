// Arrows between the top-level modules of a crate, and the circles among them.

/**
 * The arrows between the top-level modules of a crate, as a map from module to a map from module to the places
 * (`{ file, line, path }`) where the first names the second. The root of the crate itself is no module: it names all.
 */
export function topArrows ({ modules, paths }) {
  const tops = [...modules.keys()].filter(name => name && !name.includes('::'))
  const arrows = new Map(tops.map(name => [name, new Map()]))
  for (const { from, to, file, line } of paths) {
    const source = from[0]
    const target = topOf(to, modules)
    if (!source || !target || source === target) continue
    const places = arrows.get(source)
    if (!places.has(target)) places.set(target, [])
    places.get(target).push({ file, line, path: to.join('::') })
  }
  return arrows
}

// The root may show names of its modules: `pub use event::Event` makes `crate::Event` a path into `event`.
function topOf (path, modules, turns = 8) {
  if (!path.length || turns === 0) return null
  if (modules.has(path[0])) return path[0]
  const shown = modules.get('').uses.get(path[0])
  return shown ? topOf(shown.to, modules, turns - 1) : null
}

/** Groups of nodes that reach each other, by Tarjan. Only those with more than one node. */
export function knots (arrows) {
  const index = new Map()
  const low = new Map()
  const stack = []
  const found = []
  const visit = node => {
    index.set(node, index.size)
    low.set(node, index.get(node))
    stack.push(node)
    for (const next of arrows.get(node)?.keys() ?? []) {
      if (!index.has(next)) {
        visit(next)
        low.set(node, Math.min(low.get(node), low.get(next)))
      } else if (stack.includes(next)) {
        low.set(node, Math.min(low.get(node), index.get(next)))
      }
    }
    if (low.get(node) !== index.get(node)) return
    const group = stack.splice(stack.indexOf(node))
    if (group.length > 1) found.push(group.sort())
  }
  for (const node of arrows.keys()) if (!index.has(node)) visit(node)
  return found
}

/**
 * The circles to show of a knot: each pair of modules that name each other, or, if there is none, one of the shortest
 * circles. A circle is a list of nodes; the last names the first.
 */
export function circles (arrows, knot) {
  const pairs = []
  for (const a of knot) {
    for (const b of knot) if (a < b && arrows.get(a).has(b) && arrows.get(b).has(a)) pairs.push([a, b])
  }
  if (pairs.length) return pairs
  const all = knot.map(node => shortestFrom(arrows, knot, node)).filter(Boolean)
  return [all.sort((a, b) => a.length - b.length)[0]]
}

function shortestFrom (arrows, knot, start) {
  const before = new Map([[start, null]])
  const queue = [start]
  for (const node of queue) {
    for (const next of arrows.get(node).keys()) {
      if (next === start) {
        const circle = []
        for (let at = node; at !== null; at = before.get(at)) circle.unshift(at)
        return circle
      }
      if (knot.includes(next) && !before.has(next)) {
        before.set(next, node)
        queue.push(next)
      }
    }
  }
  return null
}
