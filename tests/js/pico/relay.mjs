// The relay under test: $RELAY_URL, restarted by whoever started us, who reads our stdout and writes the new URL to our
// stdin. Without $RELAY_URL it is a JavaScript stand-in.

import { createInterface } from 'node:readline'

const standIn = process.env.RELAY_URL ? null : await (await import('./stand-in.mjs')).start()
let base = process.env.RELAY_URL ?? standIn.url
const lines = standIn ? null : createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** Is it the real one? The stand-in echoes as all JavaScript kernels do, and does not survive attacks. */
export const real = !standIn

let rooms = 0
const run = Date.now().toString(36)

/** A name nobody used. */
export const freshRoom = () => `r${run}-${++rooms}`

/** The room with an empty name is `/pico` itself. */
export const roomUrl = room => room ? `${base}/pico/${room}` : `${base}/pico`

export const httpUrl = () => base.replace('ws', 'http')

export const port = () => Number(new URL(base).port)

/** Resolves when it is up again, on another port. */
export async function restart (how = 'RESTART') {
  if (standIn) return standIn.restart()
  process.stdout.write(`\n${how}\n`)
  const { value, done } = await lines.next()
  if (done) throw new Error('nobody restarts the relay')
  base = value.trim()
}

export function release () {
  if (standIn) standIn.stop()
  else process.stdin.destroy()
}
