import { Buffer } from 'buffer'

/** A browser's WebSocket for piconet's own `wsWire`, which wants node's Buffer: `wsWire(kernel.spawnWire(), bufferSocket(url))`. */
export function bufferSocket (url) {
  const socket = new WebSocket(url)
  socket.binaryType = 'arraybuffer'
  return {
    set onopen (handler) { socket.onopen = handler },
    set onclose (handler) { socket.onclose = handler },
    set onerror (handler) { socket.onerror = handler },
    set onmessage (handler) {
      socket.onmessage = ({ data }) => {
        if (typeof data !== 'string' && data.byteLength >= 6) handler({ data: Buffer.from(data) })
      }
    },
    send: frame => socket.send(frame),
    close: () => socket.close()
  }
}
