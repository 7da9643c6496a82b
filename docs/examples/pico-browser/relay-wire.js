/**
 * Puts one end of a piconet wire on a WebSocket, in a browser or elsewhere.
 *
 * One binary message is one frame: `to u16 BE, from u16 BE, flags u8, payload`. `to` is 0 or the port of the request
 * that this answers; bit 0 of flags asks for an answer, to port `from`.
 */
export function relayWire (plug, socket) {
  const waiting = new Map() // our ports, and who waits for the answer
  let port = 0
  const send = (to, [payload, reply]) => {
    const frame = new Uint8Array(5 + payload.length)
    const header = new DataView(frame.buffer)
    header.setUint16(0, to)
    if (reply) {
      do port = port % 65535 + 1; while (waiting.has(port))
      waiting.set(port, reply)
      header.setUint16(2, port)
      header.setUint8(4, 1)
    }
    frame.set(payload, 5)
    if (socket.readyState === 1) socket.send(frame)
  }
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => { plug.onmessage = scope => send(0, scope) }
  socket.onmessage = ({ data }) => {
    if (typeof data === 'string' || data.byteLength < 6) return
    const header = new DataView(data)
    const [to, from, asks] = [header.getUint16(0), header.getUint16(2), (header.getUint8(4) & 1) === 1]
    const deliver = to === 0 ? plug.postMessage : waiting.get(to)
    waiting.delete(to)
    deliver?.(new Uint8Array(data, 5), asks).then(scope => asks && send(from, scope)).catch(() => {})
  }
  socket.onclose = () => plug.close()
  plug.closed.then(() => socket.close())
}

/**
 * Keeps a node connected to a room, such as `wss://relay.example/pico/notes`, trying again ever more slowly.
 * `onchange` hears whether it is; the function returned ends it.
 */
export function stayConnected (node, url, onchange = () => {}) {
  let socket
  let timer
  let seconds = 1
  let ended = false
  const dial = () => {
    socket = new WebSocket(url)
    relayWire(node.wire(), socket)
    socket.addEventListener('open', () => {
      seconds = 1
      onchange(true)
    })
    socket.addEventListener('close', () => {
      onchange(false)
      if (ended) return
      timer = setTimeout(dial, seconds * 1000 * (0.5 + Math.random()))
      seconds = Math.min(seconds * 2, 60)
    })
  }
  dial()
  return () => {
    ended = true
    clearTimeout(timer)
    socket.close()
  }
}
