// node --test tools/arrows

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

const folder = fileURLToPath(new URL('.', import.meta.url))

function arrows (fixture, ...args) {
  const program = ['arrows.mjs', '--manifest-path', `fixtures/${fixture}/Cargo.toml`, ...args]
  const { status, stdout, stderr } = spawnSync(process.execPath, program, { cwd: folder, encoding: 'utf8' })
  return { status, stdout: stdout.trim().split('\n'), stderr: stderr.trim().split('\n').filter(Boolean) }
}

test('arrows one way pass, whatever tests, comments and strings say', () => {
  const { status, stdout, stderr } = arrows('straight')
  assert.deepEqual(stdout, [
    'crates',
    '  lower -> - (tests: upper)',
    '  upper -> lower',
    '',
    'modules of upper',
    '  floor -> -',
    '  shelf -> floor 4',
    '  top -> floor 2, shelf 1'
  ])
  assert.deepEqual(stderr, [])
  assert.equal(status, 0)
})

test('a circle is named with a place for each arrow', () => {
  const { status, stdout, stderr } = arrows('circle')
  assert.deepEqual(stdout.slice(2), [
    '',
    'modules of circle',
    '  a -> b 1',
    '  b -> c 1',
    '  c -> a 1',
    '  d -> a 1'
  ])
  assert.deepEqual(stderr, [
    'circle in circle: 3 modules reach each other: a, b, c',
    '  a -> b -> c -> a',
    '    fixtures/circle/src/a.rs:4 a uses crate::b::second',
    '    fixtures/circle/src/b.rs:1 b uses crate::c::deep::third',
    '    fixtures/circle/src/c/mod.rs:2 c uses crate::Name'
  ])
  assert.equal(status, 1)
})

test('a crate that was not asked about is not looked at', () => {
  const { status, stdout } = arrows('straight', '--package', 'lower')
  assert.deepEqual(stdout, ['crates', '  lower -> - (tests: upper)', '  upper -> lower'])
  assert.equal(status, 0)
})

test('dot draws crates and modules', () => {
  const { status, stdout } = arrows('straight', '--dot')
  assert.equal(stdout[0], 'digraph arrows {')
  for (const line of [
    '  "upper" -> "lower";',
    '  "lower" -> "upper" [style=dashed];',
    '    "upper::top" -> "upper::shelf";'
  ]) assert.ok(stdout.includes(line), line)
  assert.equal(stdout.at(-1), '}')
  assert.equal(status, 0)
})
