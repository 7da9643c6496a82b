#!/usr/bin/env node
// Which crate uses which, and which top-level module of a crate uses which. Ends with 1 if modules go in a circle.
//
//   node tools/arrows/arrows.mjs [--dot] [--manifest-path Cargo.toml] [--package NAME]..

import { execFileSync } from 'node:child_process'
import { relative } from 'node:path'
import { parseArgs } from 'node:util'
import { circles, knots, topArrows } from './graph.mjs'
import { readCrate } from './source.mjs'

const { values } = parseArgs({
  options: {
    dot: { type: 'boolean', default: false },
    'manifest-path': { type: 'string' },
    package: { type: 'string', multiple: true, default: [] }
  }
})

const metadata = readMetadata(values['manifest-path'])
const crates = metadata.packages.sort((a, b) => a.name.localeCompare(b.name))
const names = new Set(crates.map(crate => crate.name))
const between = crates.map(({ name, dependencies }) => ({
  name,
  uses: of(dependencies, null),
  tests: of(dependencies, 'dev').filter(other => !of(dependencies, null).includes(other))
}))
const within = crates
  .filter(({ name }) => !values.package.length || values.package.includes(name))
  .flatMap(({ name, targets }) => targets.filter(isCode).map(target => ({
    name: targets.filter(isCode).length > 1 ? `${name} (${target.kind[0]})` : name,
    arrows: topArrows(readCrate(target.src_path))
  })))
  .filter(({ arrows }) => arrows.size)

console.log(values.dot ? dot() : text())

const lines = within.flatMap(({ name, arrows }) => knots(arrows).flatMap(knot => told(name, arrows, knot)))
for (const line of lines) console.error(line)
process.exitCode = lines.length ? 1 : 0

function readMetadata (manifest) {
  const args = ['metadata', '--format-version', '1', '--no-deps']
  if (manifest) args.push('--manifest-path', manifest)
  return JSON.parse(execFileSync('cargo', args, { encoding: 'utf8', maxBuffer: 1 << 28 }))
}

function of (dependencies, kind) {
  return [...new Set(dependencies.filter(one => one.kind === kind && names.has(one.name)).map(one => one.name))].sort()
}

function isCode ({ kind }) {
  return kind.some(one => ['lib', 'rlib', 'bin', 'proc-macro'].includes(one))
}

function text () {
  const rows = ['crates']
  for (const { name, uses, tests } of between) {
    const dev = tests.length ? ` (tests: ${tests.join(', ')})` : ''
    rows.push(`  ${name} -> ${uses.join(', ') || '-'}${dev}`)
  }
  for (const { name, arrows } of within) {
    rows.push('', `modules of ${name}`)
    for (const [from, to] of [...arrows].sort()) {
      const list = [...to].sort().map(([other, places]) => `${other} ${places.length}`)
      rows.push(`  ${from} -> ${list.join(', ') || '-'}`)
    }
  }
  return rows.join('\n')
}

function dot () {
  const rows = ['digraph arrows {', '  rankdir=BT; node [shape=box];']
  for (const { name, uses, tests } of between) {
    rows.push(`  "${name}";`)
    for (const other of uses) rows.push(`  "${name}" -> "${other}";`)
    for (const other of tests) rows.push(`  "${name}" -> "${other}" [style=dashed];`)
  }
  for (const { name, arrows } of within) {
    rows.push(`  subgraph "cluster ${name}" {`, `    label="${name}";`)
    for (const [from, to] of arrows) {
      rows.push(`    "${name}::${from}" [label="${from}"];`)
      for (const other of to.keys()) rows.push(`    "${name}::${from}" -> "${name}::${other}";`)
    }
    rows.push('  }')
  }
  return [...rows, '}'].join('\n')
}

function told (name, arrows, knot) {
  const rows = [`circle in ${name}: ${knot.length} modules reach each other: ${knot.join(', ')}`]
  for (const circle of circles(arrows, knot)) {
    rows.push(`  ${[...circle, circle[0]].join(' -> ')}`)
    circle.forEach((from, i) => {
      const to = circle[(i + 1) % circle.length]
      const places = arrows.get(from).get(to)
      const { file, line, path } = places[0]
      const more = places.length > 1 ? `, and ${places.length - 1} more` : ''
      rows.push(`    ${relative(process.cwd(), file)}:${line} ${from} uses crate::${path}${more}`)
    })
  }
  return rows
}
