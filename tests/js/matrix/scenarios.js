// What is done with each library. A scenario gets `start`, which opens one more client of the library (for a person who can
// sign, or for nobody), and throws when something is not as it must be.

import assert from 'node:assert/strict'
import { now, person, sleep } from './events.js'
import { publish } from './raw.js'

const PATIENCE_MS = 15_000

const ids = events => events.map(event => event.id).sort()

async function until(condition, what) {
  for (const end = Date.now() + PATIENCE_MS; !await condition();) {
    assert.ok(Date.now() < end, `${what}: it never comes true`)
    await sleep(20)
  }
}

/** Publishes with the library, or without one if the library only reads. */
const publisher = (client, url) => client.publish ?? (event => publish(url, event))

const queryAs = client => client.queryAfterAuth ?? client.query

/** An event of each of these times before now. */
const notes = (who, ages, draft, at = now()) =>
  ages.map(age => who.sign({ content: `${age} s ago`, created_at: at - age, ...draft }))

export const scenarios = {
  async publish({ start }) {
    const [alice, client] = [person(), await start()]
    const texts = ['hello', 'control \u0001 "quotes" \\ \n', '😂 \u2028']
    for (const content of texts) await client.publish(alice.sign({ content }))
    const [event, other] = notes(alice, [1, 2])
    await assert.rejects(async () => client.publish({ ...event, sig: other.sig }), 'a false signature is refused')
  },

  async stored({ start, url }) {
    const alice = person()
    const events = notes(alice, [1, 2, 3, 4, 5])
    await publish(url, ...events)
    const client = await start()
    assert.deepEqual(ids(await client.query({ authors: [alice.pubkey] })), ids(events))
    assert.deepEqual(ids(await client.query({ authors: [alice.pubkey], limit: 2 })), ids(events.slice(0, 2)))
    assert.deepEqual(ids(await client.query({ authors: [person().pubkey] })), [])
  },

  async live({ start, url }) {
    const alice = person()
    const [old] = notes(alice, [60])
    await publish(url, old)
    const [client, heard] = [await start(), []]
    await client.subscribe({ kinds: [1, 7, 20001], authors: [alice.pubkey] }, event => heard.push(event))
    const events = [1, 7, 20001].map(kind => alice.sign({ kind, content: '+' }))
    await publish(url, ...events)
    await until(() => heard.length >= 4, 'one stored and three live events')
    assert.deepEqual(ids(heard), ids([old, ...events]))
  },

  async replace({ start, url }) {
    const [alice, client] = [person(), await start()]
    const drafts = [{ kind: 0, content: '{"name":"alice"}' }, { kind: 30023, tags: [['d', 'post']] }]
    for (const draft of drafts) {
      const [fresh, old] = notes(alice, [1, 2], draft)
      for (const event of [old, fresh]) await publisher(client, url)(event)
      const found = await (await start()).query({ authors: [alice.pubkey], kinds: [draft.kind] })
      assert.deepEqual(ids(found), [fresh.id])
    }
  },

  async delete({ start, url }) {
    const [alice, client] = [person(), await start()]
    const [gone, kept] = notes(alice, [1, 2])
    for (const event of [gone, kept]) await publisher(client, url)(event)
    await publisher(client, url)(alice.sign({ kind: 5, tags: [['e', gone.id], ['k', '1']] }))
    assert.deepEqual(ids(await (await start()).query({ authors: [alice.pubkey], kinds: [1] })), [kept.id])
  },

  /** An event that only its author may publish, so AUTH (NIP-42) is needed. */
  async auth({ start }) {
    const alice = person()
    const client = await start(alice)
    const event = alice.sign({ content: 'protected', tags: [['-']] })
    await (client.publishAfterAuth ?? client.publish)(event)
    const again = notes(alice, [1], { tags: [['-']] })[0]
    await client.publish(again)
    assert.deepEqual(ids(await (await start()).query({ ids: [event.id, again.id] })), ids([event, again]))
  },

  /** One sends without AUTH; the other reads after AUTH; a third reads nothing. */
  async gift({ start, url }) {
    const [bob, eve] = [person(), person()]
    const wrap = age => person().sign({ kind: 1059, content: 'sealed', created_at: now() - age, tags: [['p', bob.pubkey]] })
    const [first, second] = [wrap(90_000), wrap(50_000)]
    const sender = await start()
    await publisher(sender, url)(first)
    const filter = { kinds: [1059], '#p': [bob.pubkey] }
    const reader = await start(bob)
    assert.deepEqual(ids(await queryAs(reader)(filter)), [first.id])
    if (reader.subscribe) {
      const heard = []
      await reader.subscribe(filter, event => heard.push(event))
      await publisher(sender, url)(second)
      await until(() => heard.some(event => event.id === second.id), 'a live gift wrap')
      // Some tell of an event once for each client, and the first one is known already.
      assert.deepEqual(ids(heard.filter(event => event.id !== first.id)), [second.id])
    }
    const stranger = await start(eve)
    const nothing = await queryAs(stranger)(filter).catch(() => [])
    assert.deepEqual(ids(nothing), [])
  },

  /** A remote signer: request and response are ephemeral events. */
  async nip46({ start }) {
    const [app, signer] = [person(), person()]
    const [theirs, ours] = [await start(signer), await start(app)]
    const to = someone => ({ kinds: [24133], '#p': [someone.pubkey] })
    await theirs.subscribe(to(signer), ({ content, pubkey }) =>
      theirs.publish(signer.sign({ kind: 24133, content: `pong ${content}`, tags: [['p', pubkey]] })))
    const heard = []
    await ours.subscribe(to(app), event => heard.push(event.content))
    for (const content of ['1', '2', '3']) {
      await ours.publish(app.sign({ kind: 24133, content, tags: [['p', signer.pubkey]] }))
    }
    await until(() => heard.length >= 3, 'three responses')
    assert.deepEqual(heard.sort(), ['pong 1', 'pong 2', 'pong 3'])
  },

  async nip47({ start }) {
    const client = await start()
    assert.equal(await client.balance(), 21_000)
    assert.equal(await client.balance(), 21_000)
  },

  async count({ start, url }) {
    const alice = person()
    await publish(url, ...notes(alice, [1, 2, 3, 4, 5]))
    assert.equal(await (await start()).count({ authors: [alice.pubkey] }), 5)
  },

  async search({ start, url }) {
    const alice = person()
    const word = 'w' + alice.pubkey.slice(0, 12)
    const events = notes(alice, [1, 2, 3], { content: `hello ${word} there` })
    await publish(url, ...events, ...notes(alice, [4, 5]))
    const client = await start()
    assert.deepEqual(ids(await client.query({ kinds: [1], search: word })), ids(events))
  },

  /** Of forty events there the library has twenty, and three that are not there. */
  async negentropy({ start, url }) {
    const alice = person()
    const events = notes(alice, [...Array(40).keys()])
    await publish(url, ...events)
    const have = [...events.slice(20), ...notes(alice, [100, 101, 102])]
    const missing = await (await start()).missing({ kinds: [1], authors: [alice.pubkey] }, have)
    assert.deepEqual([...missing].sort(), ids(events.slice(0, 20)))
  },

  /** All events of an author with 5,000, of which 1,440 lie in one second. */
  async paging({ start, author }) {
    const client = await start()
    const page = client.page ?? (filter => pages(client, filter))
    const events = await page({ kinds: [1], authors: [author] })
    assert.equal(new Set(ids(events)).size, 5000)
  }
}

/** Pages as large as relays send, each from the oldest second of the one before, which comes again. */
async function pages(client, filter) {
  const seen = new Map()
  for (let until; ;) {
    const page = await client.query({ ...filter, limit: 2000, ...(until && { until }) })
    const fresh = page.filter(event => !seen.has(event.id))
    if (fresh.length === 0) return [...seen.values()]
    fresh.forEach(event => seen.set(event.id, event))
    until = Math.min(...page.map(event => event.created_at))
  }
}
