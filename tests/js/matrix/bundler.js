// Imports as bundlers for browsers do, for which @snort/system is published: names without a file ending, and the WebSocket of
// the browser.

import { register } from 'node:module'

const hook = `export async function resolve(name, context, next) {
  if (name === 'isomorphic-ws') return { url: 'data:text/javascript,export default globalThis.WebSocket', shortCircuit: true }
  const ends = /^\\.\\.?(\\/|$)/.test(name) && !name.endsWith('.js') ? ['', '.js', '/index.js'] : ['']
  for (const end of ends) {
    try { return await next(name + end, context) } catch (error) { if (end === ends.at(-1)) throw error }
  }
}`
register('data:text/javascript,' + encodeURIComponent(hook))
