// The example page in Chromium: a node of generation 2 in a web page.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { after, before, test } from 'node:test'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { Gen1 } from './gen1.mjs'
import { Gen2 } from './gen2.mjs'
import { stopAll, until } from './node.mjs'
import { freshRoom, roomUrl } from './relay.mjs'

const EXAMPLE = new URL('../../../docs/examples/pico-browser/', import.meta.url)
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium'
const ARGS = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

const skip = existsSync(CHROMIUM) || process.env.CI === 'true' ? false : `${CHROMIUM} is not installed`
let browser
let server
let site

/** One script with all its packages. */
async function bundled (entry, options) {
  const { outputFiles: [file] } = await build({
    entryPoints: [fileURLToPath(entry)],
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
    nodePaths: [fileURLToPath(new URL('node_modules', import.meta.url))],
    ...options
  })
  return file.contents
}

before(async () => {
  if (skip) return
  const files = {
    '/': readFileSync(new URL('index.html', EXAMPLE)),
    '/app.bundle.js': await bundled(new URL('app.js', EXAMPLE)),
    '/gen1': '<!doctype html><script type="module" src="gen1.js"></script>',
    '/gen1.js': await bundled(new URL('page/gen1.js', import.meta.url), {
      inject: [fileURLToPath(new URL('page/buffer.js', import.meta.url))],
      define: { global: 'globalThis' }
    })
  }
  server = createServer(({ url }, response) => {
    const { pathname } = new URL(url, 'http://localhost')
    const type = pathname.endsWith('.js') ? 'text/javascript' : 'text/html'
    response.writeHead(files[pathname] ? 200 : 404, { 'content-type': type }).end(files[pathname])
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  site = `http://127.0.0.1:${server.address().port}`
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS })
})
after(async () => {
  await browser?.close()
  server?.close()
  stopAll()
})

/** A visitor with an own identity. */
async function visit (room) {
  const context = await browser.newContext()
  const page = await context.newPage()
  const errors = []
  page.on('pageerror', error => errors.push(error.message))
  await page.goto(`${site}/?room=${encodeURIComponent(roomUrl(room))}`)
  const key = () => page.locator('#key').textContent()
  return {
    page,
    errors,
    key,
    synced: () => page.locator('button:enabled').waitFor({ timeout: 10000 }),
    async publish (text) {
      await page.fill('input', text)
      await page.click('button')
    },
    notes: () => page.locator('#notes li').allTextContents(),
    async sees (author, ...texts) {
      const lines = texts.map(text => `${author.slice(0, 8)}: ${text}`)
      const all = async () => { const notes = await this.notes(); return lines.every(line => notes.includes(line)) }
      await until(all, async () => `${lines} in ${await this.notes()}; ${errors}`)
    }
  }
}

test('a page bootstraps, publishes, hears others, and comes back', { skip, timeout: 60000 }, async () => {
  const room = freshRoom()
  const old = await Gen2.boot()
  await old.post('before the page')
  await old.connect(roomUrl(room))

  const visitor = await visit(room)
  await visitor.synced()
  await visitor.sees(old.pk64, 'before the page')
  const me = { pk64: await visitor.key() }

  await visitor.publish('from the page')
  await visitor.sees(me.pk64, 'from the page')
  await old.knows(me, 'from the page')

  await old.post('live')
  await visitor.sees(old.pk64, 'live')

  const other = await visit(room)
  await other.synced()
  await other.sees(me.pk64, 'from the page')
  await other.publish('from another page')
  await visitor.sees(await other.key(), 'from another page')

  await visitor.page.reload()
  await visitor.synced()
  assert.equal(await visitor.key(), me.pk64)
  await visitor.sees(me.pk64, 'from the page')
  await visitor.publish('again')
  await old.knows(me, 'from the page', 'again')
  await other.sees(me.pk64, 'again')

  const fresh = await Gen2.boot()
  await fresh.connect(roomUrl(room))
  await fresh.equals(old)
  assert.deepEqual([...visitor.errors, ...other.errors], [])
})

test('a page of generation 1 does the same', { skip, timeout: 60000 }, async () => {
  const room = freshRoom()
  const old = await Gen1.boot()
  await old.post('before the page')
  await old.connect(roomUrl(room))

  const page = await browser.newPage()
  const errors = []
  page.on('pageerror', error => errors.push(error.message))
  await page.goto(`${site}/gen1?room=${encodeURIComponent(roomUrl(room))}`)
  await page.waitForFunction(() => window.node?.notes().includes('before the page'))
  await page.evaluate(() => window.node.post('from the page'))
  await old.knows({ pk64: await page.evaluate(() => window.node.key) }, 'from the page')
  await old.post('live')
  await page.waitForFunction(() => window.node.notes().includes('live'))
  assert.deepEqual(errors, [])
  await page.close()
})
