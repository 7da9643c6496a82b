// The other side of a scenario: a client without a library, for what the library at hand cannot do.

import WebSocket from 'ws'

const PATIENCE_MS = 10_000

/** Publishes over a connection of its own; the relay must take every event. */
export function publish(url, ...events) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url)
    const open = new Set(events.map(event => event.id))
    const late = setTimeout(() => end(new Error(`no OK for ${open.size} events`)), PATIENCE_MS)
    const end = error => { clearTimeout(late); socket.terminate(); error ? reject(error) : resolve() }
    socket.on('error', end)
    socket.on('open', () => events.forEach(event => socket.send(JSON.stringify(['EVENT', event]))))
    socket.on('message', text => {
      const [type, id, taken, reason] = JSON.parse(text)
      if (type !== 'OK' || !open.delete(id)) return
      if (!taken) end(new Error(reason))
      else if (open.size === 0) end()
    })
  })
}
