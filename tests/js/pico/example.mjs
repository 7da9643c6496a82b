// The node of docs/examples/pico-browser, as it is: its packages are looked up here, so that it needs no own install.

import { register } from 'node:module'

const FOLDER = new URL('../../../docs/examples/pico-browser/', import.meta.url).href
const hook = `
  const FOLDER = ${JSON.stringify(FOLDER)}
  export function resolve (name, context, next) {
    const bare = /^[@a-z]/.test(name) && !name.includes(':')
    if (bare && context.parentURL?.startsWith(FOLDER)) context = { ...context, parentURL: ${JSON.stringify(import.meta.url)} }
    return next(name, context)
  }`
register('data:text/javascript,' + encodeURIComponent(hook))

export const { PicoNode } = await import(FOLDER + 'pico-node.js')
export const { relayWire } = await import(FOLDER + 'relay-wire.js')
