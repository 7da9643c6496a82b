// A small game. Players enter with ten hearts and strike each other; who has none left is out.
//
//   ['players', { enter: true }, date]      enters the arena
//   ['strikes', { at: <player>, with: 'sword' | 'feather' }, date]
//
// A strike changes somebody else's object, which lies in another collection: it raises a signal, and that collection traps it.

import { Memory } from '@telamon/picostore'
import { toHex } from 'picofeed'

const HEARTS = 10
const DAMAGE = { sword: 3, feather: 1 }
const REST = 1000

class Players extends Memory {
  compute (player, { payload, block, AUTHOR, reject }) {
    if (toHex(block.key) !== AUTHOR) return reject('enter by yourself')
    if (player) return reject('in the arena already')
    if (payload?.enter !== true) return reject('one can only enter')
    return { hearts: HEARTS, wins: 0 }
  }

  async trap (type, { by, at, damage }, mutate) {
    if (type !== 'strike') return
    let isOut = false
    await mutate(at, player => {
      const hearts = Math.max(0, player.hearts - damage)
      isOut = hearts === 0
      return { ...player, hearts }
    })
    if (isOut) await mutate(by, player => ({ ...player, wins: player.wins + 1 }))
  }
}

class Strikes extends Memory {
  // How often somebody struck, and when for the last time.
  initialValue = { count: 0, last: 0 }

  async compute (mine, { payload, block, AUTHOR, date, reject, signal }) {
    if (toHex(block.key) !== AUTHOR) return reject('strike by yourself')
    const { players } = this.store.roots
    if (!(await players.hasState(AUTHOR)) || (await players.readState(AUTHOR)).hearts === 0) return reject('only who is in the arena strikes')
    const damage = Object.hasOwn(DAMAGE, payload?.with) ? DAMAGE[payload.with] : 0
    if (!damage) return reject('with a sword, or a feather')
    if (typeof payload.at !== 'string' || payload.at === AUTHOR || !(await players.hasState(payload.at))) return reject('there is nobody to strike')
    if ((await players.readState(payload.at)).hearts === 0) return reject('they are out already')
    if (date < mine.last + REST) return reject('out of breath')
    signal('strike', { by: AUTHOR, at: payload.at, damage })
    return { count: mine.count + 1, last: date }
  }
}

export default store => {
  store.register('players', Players)
  store.register('strikes', Strikes)
}
