// A chat room. Everybody has a chain of their own, and everything they say is a block in it.
//
//   ['people', { name: 'Ada' }, date]       says who one is; may be said again
//   ['lines', { text: 'hello' }, date]      says something; needs a name; gone after a day

import { Memory } from '@telamon/picostore'
import { s2b, toHex } from 'picofeed'

const DAY = 24 * 60 * 60 * 1000

// Anyone may append to anyone's chain, so each rule has to look who signed the block.
const isOwn = ({ block, AUTHOR }) => toHex(block.key) === AUTHOR

class People extends Memory {
  // One object for each author: that is what idOf gives if it is left out.
  initialValue = { name: '', since: 0 }

  compute (person, ctx) {
    const { payload, date, reject, index } = ctx
    if (!isOwn(ctx)) return reject('only the owner of a chain says who they are')
    const name = payload?.name
    if (typeof name !== 'string' || !/^[\p{L}\p{N} ]{1,24}$/u.test(name)) return reject('a name is 1 to 24 letters, digits and spaces')
    // Now `lookup` finds the block of a name. (A text of hex digits would be taken for the bytes they stand for.)
    index(s2b(name))
    return { name, since: person.since || date }
  }
}

class Lines extends Memory {
  idOf ({ block }) { return toHex(block.id) }

  async compute (_, ctx) {
    const { payload, date, parentBlock, AUTHOR, reject } = ctx
    if (!isOwn(ctx)) return reject('only the owner of a chain talks in it')
    if (!(await this.store.roots.people.hasState(AUTHOR))) return reject('say your name first')
    const text = payload?.text
    if (typeof text !== 'string' || !text.trim()) return reject('there is nothing to read')
    if (text.length > 280) return reject('at most 280 letters')
    if (parentBlock === null || !Number.isInteger(date)) return reject('a line has a date')
    return { from: AUTHOR, text, date }
  }

  expiresAt (line) { return line.date + DAY }
}

export default store => {
  store.register('people', People)
  store.register('lines', Lines)
}
