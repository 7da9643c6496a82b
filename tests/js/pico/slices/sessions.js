// Sessions that end, entries that go with the session of their author, and scores as differences.
//
//   ['sessions', { minutes: 30 }, date]     begins a session, or lets it go on
//   ['entries', 'word', date]               knows the entry of the same word before it
//   ['scores', patch, date]

import { DiffMemory, Memory } from '@telamon/picostore'
import { cmp, s2b, toHex, toU8 } from 'picofeed'
import { isWord, MINUTES_MAX } from './lib/limits.js'

const isOwn = ({ block, AUTHOR }) => cmp(block.key, toU8(AUTHOR))

class Sessions extends Memory {
  compute (session, ctx) {
    const { payload, date, reject } = ctx
    if (!isOwn(ctx)) return reject('not yours')
    const minutes = payload?.minutes
    if (!Number.isInteger(minutes) || minutes < 1 || minutes > MINUTES_MAX) return reject('how long?')
    return { from: session?.from ?? date, until: date + minutes * 60_000, times: (session?.times ?? 0) + 1 }
  }

  expiresAt ({ until }) { return until }
}

class Entries extends Memory {
  idOf ({ block }) { return block.id }

  async compute (_, ctx) {
    const { payload, parentBlock, AUTHOR, CHAIN, reject, index, lookup } = ctx
    if (!isOwn(ctx)) return reject('not yours')
    if (!isWord(payload)) return reject('no word')
    if (!(await this.store.roots.sessions.hasState(AUTHOR))) return reject('no session')
    const key = s2b(`${CHAIN.slice(0, 16)} ${payload}`)
    const before = await lookup(key)
    index(key)
    return { author: AUTHOR, word: payload, after: before ? toHex(before) : null, parent: toHex(parentBlock.id) }
  }

  async expiresAt ({ author }, latch) { return latch('sessions', author) }
}

class Scores extends DiffMemory {
  initialValue = { owner: '', points: 0, rounds: [0, 0] }

  async validate (score, ctx) {
    if (!isOwn(ctx)) return ctx.reject('not yours')
    if (score.owner !== ctx.AUTHOR) return ctx.reject('whose?')
    if (!(score.points <= 100)) return ctx.reject('too many points')
    if (ctx.previous.points > score.points) return ctx.reject('points do not go down')
  }

  async expiresAt ({ owner }, latch) { return latch('sessions', owner) }
}

export default store => {
  store.register('sessions', Sessions)
  store.register('entries', Entries)
  store.register('scores', Scores)
}
