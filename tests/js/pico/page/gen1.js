// A node of generation 1 in a page: picostack as it is, on piconet's own wsWire.

import { MemoryLevel } from 'memory-level'
import { wsWire } from 'piconet'
import { SimpleKernel, decodeBlock } from 'picostack'
import { bufferSocket } from '../../../../docs/examples/pico-browser/buffer-socket.js'

const node = new SimpleKernel(new MemoryLevel({ keyEncoding: 'buffer', valueEncoding: 'buffer' }))
node.store.register({
  name: 'notes',
  initialValue: [],
  filter: ({ block }) => decodeBlock(block.body).type !== 'note',
  reducer: ({ block, state }) => [...state, decodeBlock(block.body).text]
})
await node.boot()
wsWire(node.spawnWire(), bufferSocket(new URLSearchParams(location.search).get('room')))
window.node = {
  key: node.pk.toString('hex'),
  post: text => node.createBlock('note', { text }),
  notes: () => node.store.state.notes
}
