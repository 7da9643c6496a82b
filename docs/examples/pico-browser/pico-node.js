import { encode, decode } from 'cborg'
import { Feed, cmp, feedFrom, getPublicKey, s2b, signPair, toU8 } from 'picofeed'
import Hub from 'piconet'
import { Repo } from 'picorepo'
import { Store } from '@telamon/picostore'

// The first byte of a message.
const OK = 0
const QUERY = 1
const BLOCKS = 2
const NODE_ID = 3
const ERR = 255

const SECRET = s2b('reg/sk')

/**
 * A generation-2 pico node: one identity, one store, any number of wires.
 *
 * `db` is an abstract-level with 'view' encodings; `secret` 64 hex digits, or made and kept in `db`. Register
 * collections on `store` before `boot()`. `onsync` hears when a peer has given all it has; `onerror` what went wrong.
 */
export class PicoNode {
  constructor (db, { secret, onsync = () => {}, onerror = console.warn } = {}) {
    this.repo = new Repo(db)
    this.store = new Store(this.repo)
    this.secret = secret
    this.onsync = onsync
    this.onerror = onerror
    this.id = crypto.getRandomValues(new Uint8Array(8))
    this.hub = new Hub((wire, message, reply) => this.#hear(wire, message, reply).catch(this.onerror), () => {})
    this.writing = Promise.resolve()
  }

  /** Our public key, 64 hex digits. */
  get pk () { return getPublicKey(this.secret) }

  async boot () {
    const kept = this.secret ? null : await this.repo.readReg(SECRET)
    this.secret ??= kept ? new TextDecoder().decode(kept) : signPair().sk
    await this.repo.writeReg(SECRET, s2b(this.secret))
    await this.store.load()
  }

  /** Appends to our own feed and tells everybody. Rejects when the collection does. */
  createBlock (collection, payload) {
    const written = this.writing.then(async () => {
      const feed = await this.repo.loadHead(toU8(this.pk)) ?? new Feed()
      feed.append(encode([collection, payload, Date.now()]), this.secret)
      return this.dispatch(feed, { loud: true })
    })
    this.writing = written.catch(() => {})
    return written
  }

  /** Takes a feed in and passes on what is new; resolves to that, or to nothing. */
  async dispatch (feed, { loud = false, from } = {}) {
    const patch = await this.store.dispatch(feed, loud)
    if (patch) this.share(patch, from)
    return patch || undefined
  }

  /** To all peers but the one it came from. */
  share (patch, from) {
    this.hub.broadcast(this.message(BLOCKS, patch.buffer), false, from).catch(this.onerror)
  }

  /** What we answer to a peer who asks: everything. */
  async onquery () {
    const heads = await this.repo.listHeads()
    return Promise.all(heads.map(({ key }) => this.repo.loadHead(key)))
  }

  /** A loose end to put on a socket, such as with `relayWire`. Give it away within 30 seconds. */
  wire () {
    return this.hub.createWire(wire => {
      this.#greet(wire).catch(reason => { this.onerror(reason); wire.close() })
    })
  }

  message (type, data = new Uint8Array()) {
    const bytes = new Uint8Array(1 + data.length)
    bytes[0] = type
    bytes.set(data, 1)
    return bytes
  }

  async #greet (wire) {
    const [answer] = await wire.postMessage(this.message(NODE_ID, this.id), true)
    if (answer[0] !== OK) return
    await this.#download(wire, ...await wire.postMessage(this.message(QUERY, encode({})), true))
    this.onsync()
  }

  async #hear (wire, message, reply) {
    const data = message.subarray(1)
    switch (message[0]) {
      case NODE_ID:
        if ([...this.hub._nodes].some(peer => peer.id && cmp(peer.id, data))) {
          reply(this.message(ERR))
          wire.close()
          return
        }
        wire.id = new Uint8Array(data)
        await reply(this.message(OK))
        return
      case QUERY:
        decode(data)
        return this.#upload(reply, await this.onquery())
      case BLOCKS:
        return this.#download(wire, message, reply)
      default:
        throw new Error(`unknown message type ${message[0]}`)
    }
  }

  /** Feeds come one by one: each is asked for when the one before is in the store. */
  async #download (wire, message, reply) {
    while (message[0] === BLOCKS) {
      await this.dispatch(feedFrom(new Uint8Array(message.subarray(1))), { from: wire })
      if (!reply) return
      [message, reply] = await reply(this.message(OK), true)
    }
    if (message[0] !== OK) throw new Error(`blocks expected, got message type ${message[0]}`)
  }

  async #upload (reply, feeds) {
    if (!feeds.length) return reply(this.message(OK))
    for (const [at, feed] of feeds.entries()) {
      const more = at + 1 < feeds.length
      const [answer, next] = await reply(this.message(BLOCKS, feed.buffer), more)
      if (more && answer[0] !== OK) return
      reply = next
    }
  }
}
