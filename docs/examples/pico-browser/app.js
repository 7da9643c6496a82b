import { Memory } from '@telamon/picostore'
import { MemoryLevel } from 'memory-level'
import { toHex } from 'picofeed'
import { PicoNode } from './pico-node.js'
import { stayConnected } from './relay-wire.js'

/** The rules: everybody writes notes on a chain of their own. */
class Notes extends Memory {
  initialValue = []

  compute (notes, { block, payload, AUTHOR, reject }) {
    if (toHex(block.key) !== AUTHOR) return reject('not your chain')
    if (typeof payload !== 'string' || payload.length > 500) return reject('not a note')
    return [...notes, payload]
  }
}

const show = (id, text) => { document.getElementById(id).textContent = text }
const form = document.querySelector('form')

const node = new PicoNode(new MemoryLevel({ keyEncoding: 'view', valueEncoding: 'view' }), {
  secret: localStorage.secret,
  // Not before: this page forgets its chain when it is closed, and a second chain of ours would be refused.
  onsync: () => { form.querySelector('button').disabled = false }
})
const notes = node.store.register('notes', Notes)
await node.boot()
localStorage.secret = node.secret
show('key', node.pk)

notes.sub(state => {
  const list = document.getElementById('notes')
  list.replaceChildren(...Object.keys(state).sort().flatMap(author => state[author].map(text => {
    const item = document.createElement('li')
    item.textContent = `${author.slice(0, 8)}: ${text}`
    return item
  })))
})

form.addEventListener('submit', async event => {
  event.preventDefault()
  const { value } = form.elements.note
  form.reset()
  await node.createBlock('notes', value).catch(reason => show('status', reason.message))
})

const room = new URLSearchParams(location.search).get('room') ?? 'ws://127.0.0.1:7420/pico/notes'
stayConnected(node, room, connected => show('status', connected ? 'connected' : 'not connected'))
