// Runs scenarios with one library: `node worker.js LIBRARY SCENARIO...`, with what the relays are in the environment.
//
// It speaks with whoever started it in lines: what it prints after `matrix: ` is JSON. `{"ready":true}` says that the
// subscriptions are open which have to survive that a relay is started again. The first line that comes in says that both have
// been; the second, that it is this library's turn to run the scenarios.

import { createInterface } from 'node:readline'
import WebSocket from 'ws'
import { person, sleep } from './events.js'
import { publish } from './raw.js'
import { scenarios } from './scenarios.js'

// As in a browser, where each message is a task of its own. Node has its own only from version 22 on.
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) { super(url, protocols, { allowSynchronousEvents: false }) }
}
// A browser only logs those; some libraries leave a failed attempt to connect again to nobody.
process.on('unhandledRejection', error => console.error('unhandled:', error?.message ?? error))
process.on('uncaughtException', error => console.error('uncaught:', error))
const print = process.stdout.write.bind(process.stdout)
console.log = console.info = console.warn = console.debug = console.group = console.groupCollapsed = console.table = console.error

const SCENARIO_MS = Number(process.env.SCENARIO_MS ?? 300_000)
const AGAIN_MS = 60_000

const { RELAY_URL: url, PAGING_AUTHOR: author, LIVE_AUTHOR: liveAuthor } = process.env
const [library, ...names] = process.argv.slice(2)
const { open } = await import(`./adapters/${library}.js`)

const say = message => print(`matrix: ${JSON.stringify(message)}\n`)

const within = (ms, promise) => new Promise((resolve, reject) => {
  const late = setTimeout(() => reject(new Error(`nothing after ${ms} ms`)), ms)
  promise.then(resolve, reject).finally(() => clearTimeout(late))
})

async function run(scenario, work) {
  const began = Date.now()
  try {
    await work()
    say({ scenario, ok: true, ms: Date.now() - began })
  } catch (error) {
    say({ scenario, ok: false, ms: Date.now() - began, error: String(error?.stack ?? error).slice(0, 600) })
  }
}

/** A subscription that has to deliver live events again once its relay is back, and a client that has to publish. */
async function survivor(way, url) {
  let [client, broken, seen] = []
  const again = new Promise(resolve => { seen = resolve })
  try {
    client = await within(20_000, Promise.resolve(open(url, person())))
    if (client.subscribe) {
      await within(20_000, client.subscribe({ kinds: [1], authors: [liveAuthor] }, event => event.content === 'again' && seen()))
    }
  } catch (error) { broken = error }
  return async () => {
    if (names.includes(`${way}-publish`)) await run(`${way}-publish`, () => broken ? Promise.reject(broken) : within(AGAIN_MS, publishes(client)))
    if (names.includes(`${way}-live`)) await run(`${way}-live`, () => broken ? Promise.reject(broken) : within(AGAIN_MS, again))
  }
}

/** The same for private messages, so it must authenticate anew before it is let in again. */
async function privateSurvivor(url) {
  if (!names.includes('term-gift')) return () => {}
  const bob = person()
  const filter = { kinds: [1059], '#p': [bob.pubkey] }
  let [heard, broken] = [new Set()]
  try {
    const client = await within(20_000, Promise.resolve(open(url, bob)))
    await within(20_000, (client.subscribeAfterAuth ?? client.subscribe)(filter, event => heard.add(event.content)))
  } catch (error) { broken = error }
  return () => run('term-gift', async () => {
    if (broken) throw broken
    for (const end = Date.now() + AGAIN_MS; !heard.has('again');) {
      if (Date.now() > end) throw new Error(`nothing after ${AGAIN_MS} ms`)
      const again = person().sign({ kind: 1059, content: 'again', tags: [['p', bob.pubkey]] })
      await publish(url, again).catch(error => console.error('publish:', error))
      await sleep(1000)
    }
  })
}

/** An app tries again when it is told that an event was not sent. */
async function publishes(client) {
  const alice = person()
  for (; ;) {
    try { return await within(5000, client.publish(alice.sign({ content: 'after' }))) } catch (error) { console.error('publish:', error) }
    await sleep(1000)
  }
}

const { TERM_URL: term, KILL_URL: kill } = process.env
const survivors = await Promise.all([survivor('term', term), survivor('kill', kill), privateSurvivor(term)])
say({ ready: true })
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
await lines.next()
const again = Promise.all(survivors.map(result => result()))

await lines.next()
for (const name of names.filter(name => name in scenarios)) {
  const clients = []
  const start = async who => {
    const client = await open(url, who)
    clients.push(client)
    return client
  }
  await run(name, () => within(SCENARIO_MS, scenarios[name]({ start, url, author })))
  for (const client of clients) await Promise.resolve(client.close?.()).catch(() => {})
}
say({ tried: true })
await again
process.exit()
