// Rules of picostore 2: a ledger that nobody overdraws, and a slice that hears of large sums. As apps of its time, a
// CommonJS file: the relay gets what esbuild makes of it.

const { decodeBlock } = require('picostack')

const DAY = 24 * 60 * 60 * 1000

const ledger = {
  name: 'ledger',
  initialValue: { sum: 0, by: {}, open: [], first: 0 },

  filter ({ block, AUTHOR, state }) {
    const { type, amount } = decodeBlock(block.body)
    if (type !== 'entry') return true
    if (!block.key.equals(AUTHOR)) return 'not yours'
    if (!Number.isInteger(amount) || amount === 0) return new Error('an amount is a whole number')
    if (state.sum + amount < 0) return 'there is not so much'
    return false
  },

  reducer ({ block, parentBlock, AUTHOR, state, signal, mark }) {
    const { amount, date } = decodeBlock(block.body)
    const who = AUTHOR.toString('hex')
    const id = block.sig.slice(0, 8).toString('base64')
    if (amount >= 50) signal('large', { who, amount })
    mark({ id }, date + DAY)
    return {
      sum: state.sum + amount,
      by: { ...state.by, [who]: (state.by[who] || 0) + amount },
      open: [...state.open, id],
      first: state.first + (parentBlock ? 0 : 1)
    }
  },

  sweep ({ payload, state, block, AUTHOR }) {
    if (!block.key.equals(AUTHOR)) return
    return { ...state, open: state.open.filter(id => id !== payload.id) }
  }
}

const alarms = {
  name: 'alarms',
  initialValue: [],
  filter: () => true,
  reducer: ({ state }) => state,
  trap ({ code, payload, root, state }) {
    if (code === 'large') return [...state, `${payload.who.slice(0, 8)} ${payload.amount} of ${root.ledger.sum}`]
  }
}

module.exports = store => {
  store.register(ledger)
  store.register(alarms)
}
