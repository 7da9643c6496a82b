// Reads the Rust source of one crate: its modules, and every path that begins with `crate`, `self` or `super`.
// What stands under `#[cfg(test)]` is left out, and so are comments, documentation among them.
//
// This is no compiler: macros are not expanded, and `include!` is not followed. A path inside a macro call counts.

import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

// One alternative for each kind of token. What matches none of them is a single character of punctuation.
const TOKEN = new RegExp(
  [
    String.raw`(?<space>\s+|\/\/[^\n]*)`,
    String.raw`(?<block>\/\*)`,
    String.raw`(?<raw>(?:b|c)?r(?<hashes>#*)")`,
    String.raw`(?<string>(?:b|c)?"(?:[^"\\]|\\[\s\S])*")`,
    String.raw`(?<char>b?'(?:[^'\\\n]|\\(?:u\{[^}]*\}|x..|.))')`,
    String.raw`(?<life>'[\p{L}_][\p{L}\p{N}_]*)`,
    String.raw`(?<name>(?:r#)?[\p{L}_][\p{L}\p{N}_]*)`,
    String.raw`(?<number>\d[\w]*)`,
    String.raw`(?<colons>::)`,
    String.raw`(?<mark>[\s\S])`
  ].join('|'),
  'uy'
)

/** The tokens of a file: `{ kind, text, line }`, without spaces and comments. */
export function tokens (text) {
  const found = []
  let at = 0
  let line = 1
  while (at < text.length) {
    TOKEN.lastIndex = at
    const { 0: all, groups } = TOKEN.exec(text)
    const kind = Object.keys(groups).find(name => name !== 'hashes' && groups[name] !== undefined)
    let end = at + all.length
    if (kind === 'block') end = endOfBlockComment(text, at)
    if (kind === 'raw') {
      const close = text.indexOf('"' + groups.hashes, end)
      end = close < 0 ? text.length : close + 1 + groups.hashes.length
    }
    if (kind !== 'space' && kind !== 'block') {
      found.push({ kind: kind === 'raw' ? 'string' : kind, text: text.slice(at, end), line })
    }
    for (let i = at; i < end; i++) if (text[i] === '\n') line++
    at = end
  }
  return found
}

// Block comments nest.
function endOfBlockComment (text, start) {
  let depth = 0
  for (let i = start; i < text.length; i++) {
    const two = text.slice(i, i + 2)
    if (two === '/*') { depth++; i++ } else if (two === '*/') { depth--; i++; if (depth === 0) return i + 1 }
  }
  return text.length
}

const OPEN = { '(': ')', '[': ']', '{': '}' }

/** Where the group that opens at `at` ends: the place after its closing bracket. */
function endOfGroup (list, at) {
  let depth = 0
  for (let i = at; i < list.length; i++) {
    const { text, kind } = list[i]
    if (kind !== 'mark') continue
    if (OPEN[text]) depth++
    else if (text === ')' || text === ']' || text === '}') { depth--; if (depth === 0) return i + 1 }
  }
  return list.length
}

// `cfg(test)`, `cfg(all(test, ..))`, and what tests of other crates use, `cfg(any(test, feature = "testing"))`. Not
// `cfg(not(test))`, nor any other `any`: that is built without tests, too.
function isForTests (attribute) {
  const text = attribute.map(token => token.text).join('')
  return /^cfg\((?:(?:all\((?:[^()]*,)?)?test[,)]|any\(test,feature="testing"\))/.test(text) || text === 'test'
}

const ENDS_WITH_SEMICOLON = new Set(['use', 'const', 'static', 'type', 'let'])
const ITEM = new Set(['fn', 'mod', 'struct', 'enum', 'union', 'trait', 'impl', 'unsafe', 'async', 'extern', 'macro_rules'])

/** The place after the item, field or arm that begins at `at`. */
function endOfItem (list, at) {
  let i = at
  while (list[i]?.text === '#') i = endOfGroup(list, i + 1)
  if (list[i]?.text === 'pub') i += 1
  if (list[i]?.text === '(' && list[i - 1]?.text === 'pub') i = endOfGroup(list, i)
  let first = list[i]?.text
  if (first === 'const' && ['fn', 'unsafe', 'async', 'extern'].includes(list[i + 1]?.text)) first = 'fn'
  const semicolon = ENDS_WITH_SEMICOLON.has(first)
  const item = ITEM.has(first)
  let angles = 0
  for (; i < list.length; i++) {
    const { text, kind } = list[i]
    if (kind !== 'mark') continue
    if (OPEN[text]) {
      i = endOfGroup(list, i) - 1
      if (text === '{' && !semicolon) return list[i + 1]?.text === ',' ? i + 2 : i + 1
    } else if (text === ';') {
      return i + 1
    } else if (text === '}' || text === ')' || text === ']') {
      return i
    } else if (text === '<') {
      angles++
    } else if (text === '>' && list[i - 1]?.text !== '-' && list[i - 1]?.text !== '=') {
      angles--
    } else if (text === ',' && !semicolon && !item && angles <= 0) {
      return i + 1
    }
  }
  return i
}

/** All names that a tree of `use` brings: `{ path, name, line }`, `name` is `*` for globs. */
function useTree (list, start) {
  const found = []
  let i = start
  const tree = prefix => {
    const path = [...prefix]
    let line = list[i]?.line
    for (;;) {
      const token = list[i]
      if (!token) return
      if (token.kind === 'colons') { i++; continue }
      if (token.text === '{') {
        i++
        while (list[i] && list[i].text !== '}') {
          if (list[i].text === ',') i++
          else tree(path)
        }
        i++
        return
      }
      if (token.text === '*') {
        i++
        found.push({ path, name: '*', line })
        return
      }
      if (token.text === '$') { i++; continue }
      if (token.kind !== 'name') break
      line = token.line
      if (!(token.text === 'self' && path.length)) path.push(token.text)
      i++
      if (list[i]?.kind !== 'colons') break
    }
    let name = path.at(-1)
    if (list[i]?.text === 'as') { name = list[i + 1]?.text; i += 2 }
    if (path.length > prefix.length || path.length) found.push({ path, name, line })
    else i++
  }
  tree([])
  return { found, end: i }
}

/**
 * Reads a crate from its root file.
 *
 * Returns `modules`, a map from the path of each module (`''`, `'store'`, `'store::sqlite'`) to
 * `{ file, children, uses }`, and `paths`, a list of `{ from, to, file, line }`: module `from` names `to`, a list
 * of segments counted from the root of the crate.
 */
export function readCrate (root) {
  const modules = new Map()
  const paths = []
  const crate = { modules, paths }
  readFile(crate, root, [], dirname(root), true)
  return crate
}

function readFile (crate, file, module, folder) {
  const list = tokens(readFileSync(file, 'utf8'))
  readModule(crate, list, 0, list.length, file, module, folder)
}

function readModule (crate, list, start, end, file, module, folder) {
  const own = { file, children: new Map(), uses: new Map() }
  crate.modules.set(module.join('::'), own)

  const note = (segments, line) => {
    const to = absolute(segments, module)
    if (to) crate.paths.push({ from: module, to, file, line })
    return to
  }

  let path = null
  for (let i = start; i < end;) {
    const { text, kind, line } = list[i]
    const next = list[i + 1]
    if (text === '#' && kind === 'mark' && (next?.text === '[' || next?.text === '!')) {
      const inner = next.text === '!'
      const open = inner ? i + 2 : i + 1
      const close = endOfGroup(list, open)
      const attribute = list.slice(open + 1, close - 1)
      if (isForTests(attribute)) {
        if (inner) return
        i = endOfItem(list, close)
        path = null
        continue
      }
      if (attribute[0]?.text === 'path' && attribute[2]?.kind === 'string') path = attribute[2].text.slice(1, -1)
      i = close
    } else if (text === 'mod' && next?.kind === 'name' && [';', '{'].includes(list[i + 2]?.text)) {
      const name = next.text
      const child = [...module, name]
      if (list[i + 2].text === '{') {
        const close = endOfGroup(list, i + 2)
        own.children.set(name, child)
        readModule(crate, list, i + 3, close - 1, file, child, join(folder, name))
        i = close
      } else {
        const at = path ? join(dirname(file), path) : [join(folder, `${name}.rs`), join(folder, name, 'mod.rs')].find(existsSync)
        if (at && existsSync(at)) {
          own.children.set(name, child)
          readFile(crate, at, child, path || basename(at) === 'mod.rs' ? dirname(at) : join(folder, name))
        }
        i += 3
      }
      path = null
    } else if (text === 'use' && kind === 'name') {
      const { found, end: after } = useTree(list, i + 1)
      for (const one of found) own.uses.set(one.name, { to: note(one.path, one.line) ?? one.path })
      i = Math.max(after, i + 1)
    } else if (['crate', 'self', 'super'].includes(text) && next?.kind === 'colons') {
      const segments = []
      let at = i
      while (list[at]?.kind === 'name') {
        segments.push(list[at].text)
        at++
        if (list[at]?.kind !== 'colons') break
        at++
      }
      // `pub(in crate::somewhere)` says who may look, not what is used.
      if (list[i - 1]?.text !== 'in' || list[i - 2]?.text !== '(') note(segments, line)
      i = at
    } else {
      i++
    }
  }
}

/** The segments of a path counted from the root of the crate, or nothing, if it names another crate or a local name. */
function absolute (segments, module) {
  const rest = [...segments]
  let base = null
  if (rest[0] === 'crate') {
    base = []
    rest.shift()
  } else if (rest[0] === 'self') {
    base = [...module]
    rest.shift()
  }
  while (rest[0] === 'super') {
    base = base ?? [...module]
    base.pop()
    rest.shift()
  }
  return base && [...base, ...rest]
}
