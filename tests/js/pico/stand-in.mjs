// In place of the relay: real JavaScript kernels of both generations behind a WebSocket, to try the tests themselves.

import { createRequire } from 'node:module'
import { WebSocketServer } from 'ws'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'

const { wsWire } = createRequire(import.meta.url)('piconet')

export async function start () {
  const rooms = new Map()
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await new Promise(resolve => server.once('listening', resolve))
  server.on('connection', (socket, request) => {
    const buffered = []
    const room = request.url === '/pico' ? '/pico/main' : request.url
    socket.on('error', () => {})
    socket.onmessage = ({ data }) => {
      buffered.push(data)
      if (data[5] === 3) socket.send(Buffer.from([data[2], data[3], 0, 0, 0, 0]))
      if (data[5] !== 1) return
      // The parameters of QUERY tell the generation: now the kernel takes over.
      const kernel = rooms.get(room)[data[6] === 0xa0 ? 1 : 0]
      const send = socket.send.bind(socket)
      socket.send = frame => { if (socket.readyState === 1 && !(frame.readUInt16BE(0) === 1 && frame[5] === 0)) send(frame) }
      wsWire(kernel.wire(), socket)
      socket.onopen()
      buffered.forEach(frame => socket.onmessage({ data: frame }))
    }
    if (!rooms.has(room)) {
      rooms.set(room, [new Gen1(), new Gen2()])
      rooms.get(room).forEach(kernel => kernel.boot())
    }
  })
  const drop = () => server.clients.forEach(client => client.terminate())
  return {
    url: `ws://127.0.0.1:${server.address().port}`,
    async restart () { drop() },
    stop () { drop(); server.close() }
  }
}
