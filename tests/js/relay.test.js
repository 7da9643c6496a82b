// nostr-tools as a client of the relay at $RELAY_URL.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { finalizeEvent, generateSecretKey, getPublicKey, nip77 } from 'nostr-tools'
import * as nip11 from 'nostr-tools/nip11'
import * as nip17 from 'nostr-tools/nip17'
import { Relay, useWebSocketImplementation } from 'nostr-tools/relay'
import { SimplePool, useWebSocketImplementation as usePoolWebSocket } from 'nostr-tools/pool'
import WebSocket from 'ws'

useWebSocketImplementation(WebSocket)
usePoolWebSocket(WebSocket)

const url = process.env.RELAY_URL
const open = []
after(() => open.forEach(relay => relay.close()))

async function connect() {
  const relay = await Relay.connect(url)
  open.push(relay)
  return relay
}

/** Somebody with a key. */
function person() {
  const secret = generateSecretKey()
  const sign = template => finalizeEvent({ created_at: now(), tags: [], content: '', kind: 1, ...template }, secret)
  return { secret, pubkey: getPublicKey(secret), sign }
}

const now = () => Math.floor(Date.now() / 1000)

/** Stored events, or the reason of a CLOSED. */
function query(relay, ...filters) {
  return new Promise((resolve, reject) => {
    const events = []
    const sub = relay.subscribe(filters, {
      onevent: event => events.push(event),
      oneose: () => { resolve(events); sub.close() },
      onclose: reason => reject(new Error(reason))
    })
  })
}

/** Answers the challenge, which comes when something is refused for want of it. */
async function auth(relay, who) {
  if (!relay.challenge) await assert.rejects(query(relay, { kinds: [1059] }), /auth-required/)
  return relay.auth(template => Promise.resolve(who.sign(template)))
}
const ids = events => events.map(event => event.id)

async function until(condition) {
  for (let tries = 0; tries < 500; tries++) {
    if (await condition()) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  assert.fail('it never comes true')
}

test('publishes and queries', async () => {
  const relay = await connect()
  const alice = person()
  const texts = ['hello', 'control \u0001\u001f and "quotes" \\ \n', '😂 \u2028 \ufffe']
  const at = now()
  const events = texts.map((content, n) => alice.sign({ content, created_at: at - n, tags: [['t', content]] }))
  for (const event of events) await relay.publish(event)
  assert.deepEqual(ids(await query(relay, { authors: [alice.pubkey] })), ids(events))
  assert.deepEqual(ids(await query(relay, { authors: [alice.pubkey], limit: 1 })), [events[0].id])
  assert.deepEqual(ids(await query(relay, { '#t': [texts[1]], authors: [alice.pubkey] })), [events[1].id])
  await assert.rejects(relay.publish({ ...events[0], id: events[1].id, content: 'forged' }))
  await assert.rejects(query(relay, { kind: 1 }), /unsupported/)
})

test('subscribes', async () => {
  const [reader, writer] = [await connect(), await connect()]
  const alice = person()
  const heard = []
  await new Promise(resolve => reader.subscribe([{ authors: [alice.pubkey], limit: 0 }], {
    onevent: event => heard.push(event.id),
    oneose: resolve
  }))
  const events = [1, 7, 20001].map(kind => alice.sign({ kind }))
  for (const event of events) await writer.publish(event)
  await until(() => heard.length === 3)
  assert.deepEqual(heard, ids(events))
})

test('a pool of one', async () => {
  const pool = new SimplePool()
  const alice = person()
  const event = alice.sign({ kind: 0, content: '{"name":"alice"}' })
  await Promise.all(pool.publish([url], event))
  assert.equal((await pool.get([url], { kinds: [0], authors: [alice.pubkey] })).id, event.id)
  pool.close([url])
})

test('authenticates, also with several keys', async () => {
  const relay = await connect()
  const [alice, bob] = [person(), person()]
  const protectedEvent = who => who.sign({ content: 'protected', tags: [['-']] })
  await assert.rejects(relay.publish(protectedEvent(alice)), /auth-required/)
  await auth(relay, alice)
  await relay.publish(protectedEvent(alice))
  await assert.rejects(relay.publish(protectedEvent(bob)), /restricted/)
  // nostr-tools answers a challenge once for a connection, so the second key speaks for itself.
  const challenge = relay.challenge
  const event = bob.sign({ kind: 22242, tags: [['relay', url], ['challenge', challenge]] })
  await relay.send(JSON.stringify(['AUTH', event]))
  await until(() => relay.publish(protectedEvent(bob)).then(() => true, () => false))
  await relay.publish(protectedEvent(alice))
})

test('private messages reach their recipient only', async () => {
  const [sender, recipient, stranger] = [await connect(), await connect(), await connect()]
  const [alice, bob, eve] = [person(), person(), person()]
  const wrap = nip17.wrapEvent(alice.secret, { publicKey: bob.pubkey }, 'secret')
  await sender.publish(wrap)
  const filter = { kinds: [1059], '#p': [bob.pubkey] }
  await assert.rejects(query(stranger, filter), /auth-required/)
  await auth(stranger, eve)
  assert.deepEqual(await query(stranger, filter), [])
  await auth(recipient, bob)
  const [found] = await query(recipient, filter)
  assert.equal(nip17.unwrapEvent(found, bob.secret).content, 'secret')
  assert.equal(await recipient.count([filter], {}), 1)
  assert.equal(await stranger.count([filter], {}), 0)
})

test('deletes', async () => {
  const relay = await connect()
  const alice = person()
  const [gone, kept] = [alice.sign({ content: 'gone' }), alice.sign({ content: 'kept' })]
  const article = alice.sign({ kind: 30023, tags: [['d', 'x']] })
  for (const event of [gone, kept, article]) await relay.publish(event)
  const tags = [['e', gone.id], ['a', `30023:${alice.pubkey}:x`], ['k', '1'], ['k', '30023']]
  await relay.publish(alice.sign({ kind: 5, tags }))
  assert.deepEqual(ids(await query(relay, { authors: [alice.pubkey], kinds: [1, 30023] })), [kept.id])
  await assert.rejects(relay.publish(gone))
})

test('counts', async () => {
  const relay = await connect()
  const note = person().sign({ content: 'a note' })
  await relay.publish(note)
  for (let n = 0; n < 12; n++) await relay.publish(person().sign({ kind: 7, content: '+', tags: [['e', note.id]] }))
  const filters = [{ kinds: [7], '#e': [note.id] }]
  assert.equal(await relay.count(filters, {}), 12)
  const { count, hll } = await relay.countWithHLL(filters, {})
  assert.equal(count, 12)
  assert.match(hll, /^[0-9a-f]{512}$/)
  assert.notEqual(hll, '0'.repeat(512))
})

test('searches', async () => {
  const relay = await connect()
  const alice = person()
  const word = 'w' + alice.pubkey.slice(0, 16)
  const note = alice.sign({ content: `a ${word} to find` })
  await relay.publish(note)
  await until(async () => (await query(relay, { search: word })).length === 1)
  assert.deepEqual(ids(await query(relay, { search: `${word} FIND`, kinds: [1] })), [note.id])
  assert.deepEqual(await query(relay, { search: `${word} elsewhere` }), [])
})

test('reconciles', async () => {
  const relay = await connect()
  const alice = person()
  const events = Array.from({ length: 150 }, (_, n) => alice.sign({ content: `${n}`, created_at: now() - (n >> 2) }))
  for (const event of events.slice(20)) await relay.publish(event)
  const storage = new nip77.NegentropyStorageVector()
  for (const event of events.slice(0, 100)) storage.insert(event.created_at, event.id)
  storage.seal()
  const [have, need] = [[], []]
  await new Promise((resolve, reject) => {
    const sync = new nip77.NegentropySync(relay, storage, { authors: [alice.pubkey] }, {
      onhave: id => have.push(id),
      onneed: id => need.push(id),
      onclose: error => error ? reject(new Error(error)) : resolve()
    })
    sync.start()
  })
  assert.deepEqual(have.sort(), ids(events.slice(0, 20)).sort())
  assert.deepEqual(need.sort(), ids(events.slice(100)).sort())
})

test('reads the information document', async () => {
  const document = await nip11.fetchRelayInformation(url)
  for (const nip of [1, 9, 11, 42, 45, 50, 77]) assert.ok(document.supported_nips.includes(nip), `NIP-${nip}`)
})
