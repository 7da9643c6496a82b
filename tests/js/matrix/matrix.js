// Tries every library of the table against a relay: `PICORELAY=path node matrix.js [LIBRARY...]`. Ends with 1 if one fails that
// should not.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { now, person, sleep } from './events.js'
import { publish } from './raw.js'
import { names, table } from './table.js'

const program = process.env.PICORELAY
const here = fileURLToPath(new URL('.', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'matrix-'))
const MATRIX_MS = 600_000

/** A relay with the default configuration, which can be ended and started again where it was. */
class Relay {
  #data; #process; #port = 0; #log = ''

  constructor(name) { this.#data = join(scratch, name) }

  get url() { return `ws://127.0.0.1:${this.#port}` }

  get log() { return this.#log }

  /** Takes events in before it is started. */
  import(events) {
    const input = events.map(event => JSON.stringify(event)).join('\n')
    const done = spawnSync(program, ['import', '--data', this.#data, '-'], { cwd: scratch, input, encoding: 'utf8', env: {} })
    if (done.status !== 0) throw new Error(`import: ${done.stderr}`)
  }

  start() {
    const args = ['serve', '--data', this.#data, '--listen', `127.0.0.1:${this.#port}`]
    this.#process = spawn(program, args, { cwd: scratch, env: {}, stdio: ['ignore', 'pipe', 'pipe'] })
    return new Promise((resolve, reject) => {
      const read = text => {
        this.#log += text
        const port = /:\/\/127\.0\.0\.1:(\d+)/.exec(this.#log.slice(from))?.[1]
        if (port) { this.#port = Number(port); resolve() }
      }
      const from = this.#log.length
      this.#process.stdout.on('data', read)
      this.#process.stderr.on('data', read)
      this.#process.on('exit', code => reject(new Error(`the relay ended with ${code}\n${this.#log}`)))
    })
  }

  async end(signal) {
    const process = this.#process
    const ended = new Promise(resolve => process.once('exit', resolve))
    process.kill(signal)
    await ended
  }
}

/** 5,000 events of one author, 1,440 of them in one second. */
function crowded(author) {
  const base = now() - 100_000
  return [...Array(5000).keys()].map(n => {
    const second = n < 1780 ? n : n < 3220 ? 1780 : n - 1439
    return author.sign({ content: `number ${n}`, created_at: base - second })
  })
}

/** Runs the scenarios that a library has. Gives what became of each. */
class Worker {
  results = new Map()

  constructor(library, env) {
    this.library = library
    const { lacks, runtime } = table[library]
    const wanted = names.filter(name => !(name in lacks))
    const [command, ...args] = runtime === 'python' ? [process.env.MATRIX_PYTHON, '../../python/worker.py'] : ['node', 'worker.js']
    this.process = spawn(command, [...args, library, ...wanted], { cwd: here, env: { ...process.env, ...env } })
    this.words = ''
    this.process.stderr.on('data', text => { this.words = (this.words + text).slice(-4000) })
    this.ready = new Promise(resolve => { this.#ready = resolve })
    this.tried = new Promise(resolve => { this.#tried = resolve })
    this.done = new Promise(resolve => this.process.on('exit', () => { this.#ready(); this.#tried(); resolve() }))
    createInterface({ input: this.process.stdout }).on('line', line => this.#hear(line))
    this.process.stdin.on('error', () => {})
  }

  #ready
  #tried

  #hear(line) {
    if (!line.startsWith('matrix: ')) return
    const said = JSON.parse(line.slice(8))
    if (said.ready) this.#ready()
    if (said.tried) this.#tried()
    if (said.scenario) this.results.set(said.scenario, said)
    if (process.env.MATRIX_VERBOSE) console.error(this.library, JSON.stringify(said).slice(0, 600))
  }

  /** Its relays have been started again. */
  back() { this.process.stdin.write('back\n') }

  /** Runs its scenarios. */
  async try() {
    this.process.stdin.write('try\n')
    await this.tried
  }
}

function canRun(library) {
  const can = table[library].runtime !== 'python' || process.env.MATRIX_PYTHON
  if (!can) console.log(`skipped: ${library}, because MATRIX_PYTHON names no python that has it`)
  return can
}

async function main() {
  const wanted = process.argv.slice(2)
  const libraries = Object.keys(table).filter(library => wanted.length === 0 || wanted.includes(library)).filter(canRun)
  const [author, live] = [person(), person()]
  const [relay, term, kill] = ['relay', 'term', 'kill'].map(name => new Relay(name))
  relay.import(crowded(author))
  await Promise.all([relay, term, kill].map(relay => relay.start()))
  const env = {
    RELAY_URL: relay.url, TERM_URL: term.url, KILL_URL: kill.url, PAGING_AUTHOR: author.pubkey, LIVE_AUTHOR: live.pubkey
  }
  const workers = libraries.map(library => new Worker(library, env))
  await Promise.all(workers.map(worker => worker.ready))
  // At once, as whatever watches over a relay does it. NDK and Snort try only once, one and two seconds later.
  await Promise.all([term.end('SIGTERM'), kill.end('SIGKILL')])
  await Promise.all([term.start(), kill.start()])
  workers.forEach(worker => worker.back())
  const queue = [...workers]
  const turn = async () => { for (let worker; (worker = queue.shift());) await worker.try() }
  for (let turns = availableParallelism() + 1; turns > 0; turns--) turn()
  const done = Promise.all(workers.map(worker => worker.done)).then(() => true)
  const late = sleep(MATRIX_MS).then(() => true)
  while (!await Promise.race([done, late, sleep(1000)])) {
    for (const url of [term.url, kill.url]) await publish(url, live.sign({ content: 'again' })).catch(error => console.error('publish:', error.message))
  }
  workers.forEach(worker => worker.process.kill('SIGKILL'))
  await Promise.all([relay, term, kill].map(relay => relay.end('SIGTERM')))
  return report(workers)
}

/** Prints the table; gives whether all is as it should be. */
function report(workers) {
  const faults = []
  const cell = ({ library, results, words }, name) => {
    const { lacks, faulty = {} } = table[library]
    if (name in lacks) return '-'
    const result = results.get(name) ?? { ok: false, error: `it said nothing\n${words}` }
    if (name in faulty) {
      if (result.ok) faults.push(`${library} ${name}: passes, the table says that it fails`)
      return result.ok ? 'PASSES' : 'fault'
    }
    if (!result.ok) faults.push(`${library} ${name}: ${result.error}`)
    return result.ok ? `${(result.ms / 1000).toFixed(1)}` : 'FAILS'
  }
  const rows = workers.map(worker => [worker.library, ...names.map(name => cell(worker, name))])
  const lines = [['', ...names], ...rows]
  const widths = lines[0].map((_, column) => Math.max(...lines.map(line => line[column].length)))
  for (const line of lines) console.log(line.map((text, column) => text.padEnd(widths[column])).join(' '))
  console.log('Seconds; - the library has no such thing; fault: a fault of the library, named in table.js.')
  for (const fault of faults) console.log(`\n${fault}`)
  return faults.length === 0
}

try {
  process.exitCode = await main() ? 0 : 1
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
process.exit()
