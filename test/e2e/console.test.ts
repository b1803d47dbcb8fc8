import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { HttpServer } from '../../src/http/server.ts'
import { appCode } from '../support/apps/app-code.ts'
import { openBrowser, WatchedPage } from '../support/browser.ts'
import { Host } from '../support/host.ts'
import { type Started, start } from '../support/instar.ts'

// The console as a person has it: the built command line serves it, and a real browser shows it.

let browser: Browser
let host: Host
let port: number

beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser?.close())

beforeEach(async () => {
  host = await Host.make()
  onTestFinished(async () => {
    await host.instar('daemon', 'stop', '--yes')
    await host[Symbol.asyncDispose]()
  })
  host.publish('2.0.0')
  port = await freePort()
  const config = host.rawConfig() as object
  await writeFile(host.configFile, JSON.stringify({ ...config, console: { port } }))
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port: free } = server.address() as { port: number }
  server.close()
  return free
}

/** `instar up`, until the test has ended. */
async function up(): Promise<Started> {
  const started = start(['--home', host.home, '--config', host.configFile, 'up'])
  await started.says(`:${port}`)
  onTestFinished(async () => {
    started.child.kill('SIGTERM')
    await started.ended
  })
  return started
}

const token = async () => (await readFile(join(host.home, 'console.token'), 'utf8')).trim()

async function enter(watched: WatchedPage, path = 'overview'): Promise<Page> {
  const { page } = watched
  await page.goto(`http://127.0.0.1:${port}/#token=${await token()}`)
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
  await page.getByText('Live', { exact: true }).waitFor()
  if (path !== 'overview') await visit(page, path)
  return page
}

const titles: Readonly<Record<string, string>> = {
  overview: 'Overview',
  charts: 'Statecharts',
  journal: 'Journal',
  runtime: 'Runtime',
  plugins: 'Plugins',
  apps: 'Apps',
  terminals: 'Terminals',
}

async function visit(page: Page, path: string): Promise<void> {
  await page.evaluate((hash) => {
    location.hash = hash
  }, `#/${path}`)
  await page.getByRole('heading', { level: 1, name: titles[path.split(/[/?]/)[0]!]! }).waitFor()
}

/** Of the journal's list. */
const rowsOf = (page: Page, name: RegExp, more: { selected?: boolean } = {}) =>
  page.getByRole('listbox', { name: 'Records' }).getByRole('option', { name, ...more })

async function asked(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.instar(...args)
  if (code !== 0) throw new Error(`instar ${args.join(' ')}: ${code} ${stdout} ${stderr}`)
  return stdout
}

function publishApp(version: string): void {
  host.registry.publish('notes', version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs' })
}

/** An app in some workspaces. */
async function furnish(workspaces: readonly string[]): Promise<void> {
  publishApp('1.0.0')
  for (const workspace of workspaces) {
    await asked('workspace', 'add', workspace)
    await asked('app', 'install', 'notes', '--workspace', workspace)
  }
}

/** A session that goes on by itself; what it is told is run by a shell. */
async function session(script: string, id = 'work'): Promise<void> {
  await asked('session', 'open', '--id', id, '--', 'sh', '-c', script)
}

test.each(['light', 'dark'] as const)('every page, %s: no error, no barrier', async (scheme) => {
  await up()
  await furnish(['a', 'b'])
  await asked('app', 'pin', 'notes', '--note', '<img src=x onerror=alert(1)>')
  await session('echo ready; exec sleep 600')
  const watched = await WatchedPage.open(browser, { scheme })
  const page = await enter(watched)
  const pages: Readonly<Record<string, () => Promise<unknown>>> = {
    overview: () => page.getByText('2 of 2 workspaces serving').waitFor(),
    'charts/app-install': () => page.locator('svg .state.active').first().waitFor(),
    journal: () => page.getByRole('heading', { name: 'What it changed' }).waitFor(),
    runtime: () => page.getByText('known good').first().waitFor(),
    plugins: () => page.getByText('No plugin is installed').waitFor(),
    apps: () => page.getByRole('row', { name: /^b 1\.0\.0 serving/ }).waitFor(),
    'terminals?daemon=main&session=work': () => page.locator('.xterm-rows').getByText('ready').waitFor(),
  }
  for (const [path, isThere] of Object.entries(pages)) {
    await visit(page, path)
    await isThere()
    await screenshot(page, `${path.split(/[/?]/)[0]}-${scheme}`)
    expect(await watched.barriers(), path).toEqual([])
    expect(watched.errors, path).toEqual([])
  }
  await page.setViewportSize({ width: 390, height: 844 })
  for (const [path, isThere] of Object.entries(pages)) {
    await visit(page, path)
    await isThere()
    await screenshot(page, `${path.split(/[/?]/)[0]}-${scheme}-narrow`)
    expect(await watched.barriers(), path).toEqual([])
    // Nothing sticks out sideways.
    expect(await page.evaluate(() => document.documentElement.scrollWidth), path).toBe(390)
  }
  expect(watched.errors).toEqual([])
})

/** For whoever wants to look: INSTAR_SCREENSHOTS names a folder. */
async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env.INSTAR_SCREENSHOTS
  if (folder !== undefined) await page.screenshot({ path: join(folder, `${name}.png`) })
}

test('without a token nothing is shown, and a wrong one opens nothing', async () => {
  await up()
  const watched = await WatchedPage.open(browser)
  const { page } = watched
  await page.goto(`http://127.0.0.1:${port}/#token=instar_owner_wrong`)
  await page.getByText('This token opens nothing.').waitFor()
  expect(page.url()).not.toContain('wrong')
  expect(await watched.barriers()).toEqual([])
  await page.getByLabel('Token').fill(await token())
  await page.getByRole('button', { name: 'Open' }).click()
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
  await page.getByRole('button', { name: 'Lock' }).click()
  await page.getByLabel('Token').waitFor()
})

test('what a role may not do is said where it would be done', async () => {
  await up()
  await furnish(['a'])
  const [made] = /instar_[0-9a-f]{12}_[\w-]{43}/.exec(await asked('access', 'add', 'member', '--workspace', 'a'))!
  const watched = await WatchedPage.open(browser)
  const { page } = watched
  await page.goto(`http://127.0.0.1:${port}/#token=${made}`)
  await page.getByText('a member of a', { exact: true }).waitFor()
  await visit(page, 'apps')
  const upgrade = page.getByRole('button', { name: 'Upgrade notes' })
  await upgrade.waitFor()
  expect(await upgrade.isDisabled()).toBe(true)
  await page.getByText('a member of a may not do this').first().waitFor()
  expect(await watched.barriers()).toEqual([])
  for (const path of ['journal', 'runtime', 'plugins', 'terminals']) {
    await visit(page, path)
    await page.getByText('not shown to your role').waitFor()
  }
  expect(watched.errors).toEqual([])
})

test('text that somebody else has written is never markup', async () => {
  await up()
  await furnish(['a'])
  const evil = '<img src=x onerror="document.title=1"><b>bold</b>'
  await asked('app', 'pin', 'notes', '--note', evil)
  await session(`printf '%s\\n' '${evil}'; exec sleep 600`)
  const watched = await WatchedPage.open(browser)
  const page = await enter(watched, 'apps')
  await page.getByText(evil).waitFor()
  await visit(page, 'journal?run=app-pin')
  await visit(page, 'terminals?daemon=main&session=work')
  await page.locator('.xterm-rows').getByText('onerror').waitFor()
  expect(await page.locator('img[src="x"], main b').count()).toBe(0)
  expect(watched.errors).toEqual([])
})

test('a record appears in the journal when it is written, in every page that is open', async () => {
  await up()
  const pages = [await WatchedPage.open(browser), await WatchedPage.open(browser)]
  for (const watched of pages) await enter(watched, 'journal')
  await asked('workspace', 'add', 'fresh')
  for (const { page, errors } of pages) {
    await rowsOf(page, /workspace-adjust-\d+/)
      .first()
      .waitFor()
    expect(errors).toEqual([])
  }
})

test('an upgrade of an app is watched as it happens: from another page, and through a reload', async () => {
  await up()
  await furnish(['a', 'b', 'c'])
  publishApp('2.0.0')
  const asking = await WatchedPage.open(browser)
  const watching = await WatchedPage.open(browser)
  const page = await enter(asking, 'apps')
  await enter(watching, 'apps')
  const gate = host.registry.hold('tarball', { package: 'notes' })
  await page.getByRole('button', { name: 'Upgrade notes' }).click()
  await gate.reached
  // Nothing of it can be asked for again, here or elsewhere.
  for (const { page: one } of [asking, watching]) {
    await one.getByText('Upgrading notes: ').waitFor()
    expect(await one.getByRole('button', { name: 'Upgrade notes' }).isDisabled()).toBe(true)
  }
  await page.reload()
  await page.getByText('Upgrading notes: ').waitFor()
  gate.release()
  for (const { page: one, errors } of [asking, watching]) {
    await one.getByRole('heading', { name: /^Last upgrade: upgraded/ }).waitFor()
    expect(await one.locator('.results li').allInnerTexts()).toEqual(
      ['a', 'b', 'c'].map((workspace) => expect.stringMatching(new RegExp(`upgraded\\s*${workspace}`))),
    )
    await one.getByRole('row', { name: /^c 2\.0\.0 serving/ }).waitFor()
    expect(errors).toEqual([])
  }
})

test('a daemon is upgraded under a program that prints: no line is missing in the terminal of the page', async () => {
  await up()
  const stop = join(host.directory, 'stop')
  await session(
    `i=0; while [ ! -e ${stop} ]; do i=$((i+1)); echo "line $i."; sleep 0.02; done; echo "$i in all"; exec sleep 600`,
  )
  const watched = await WatchedPage.open(browser)
  const page = await enter(watched, 'terminals?daemon=main&session=work')
  await page
    .locator('.xterm-rows')
    .getByText(/line \d+\./)
    .first()
    .waitFor()
  await page.getByRole('button', { name: 'Upgrade daemon main' }).click()
  await page.getByText(/1 terminal went over/).waitFor()
  // Nothing of the terminal lies above what the page says.
  await page.getByRole('button', { name: 'Dismiss this message' }).click()
  await page.locator('.handoff svg .state.active').first().waitFor()
  await writeFile(stop, '')
  const last = page.locator('.xterm-rows').getByText(/\d+ in all/)
  const lines = Number.parseInt(await last.innerText(), 10)
  expect(lines).toBeGreaterThan(50)
  expect(await linesShown(page)).toEqual(Array.from({ length: lines }, (_, index) => `line ${index + 1}.`))
  expect(watched.errors).toEqual([])
})

/** All that a terminal can be scrolled back to, from its beginning. */
async function linesShown(page: Page): Promise<string[]> {
  await page.locator('.xterm-helper-textarea').focus()
  const found = new Map<number, string>()
  for (let before = -1; before !== found.size; ) {
    before = found.size
    for (const text of await page.locator('.xterm-rows > div').allInnerTexts()) {
      const line = /^line (\d+)\.$/.exec(text.replaceAll('\u00a0', ' ').trim())
      if (line !== null) found.set(Number(line[1]), line[0])
    }
    await page.keyboard.press('Shift+PageUp')
    await page.waitForTimeout(100)
  }
  return [...found].sort(([one], [other]) => one - other).map(([, text]) => text)
}

test('a controller is killed and started again: the page and its terminal go on by themselves', async () => {
  const first = await up()
  await session('while :; do read -r word; echo "heard $word"; done')
  const watched = await WatchedPage.open(browser)
  const page = await enter(watched, 'terminals?daemon=main&session=work')
  await page.getByText('Attached', { exact: true }).waitFor()
  first.child.kill('SIGKILL')
  await first.ended
  await page.getByText('Offline', { exact: true }).waitFor()
  await page.getByText('The controller does not answer.').waitFor()
  expect(await watched.barriers()).toEqual([])
  await up()
  await page.getByText('Live', { exact: true }).waitFor()
  await page.getByText('Attached', { exact: true }).waitFor()
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.type('again\n')
  await page.locator('.xterm-rows').getByText('heard again').waitFor()
  await asked('workspace', 'add', 'later')
  await visit(page, 'journal')
  await rowsOf(page, /workspace-adjust-\d+/)
    .first()
    .waitFor()
  // What the browser says of a server that is not there, or not ready.
  const isAway = /net::ERR_(CONNECTION|SOCKET|EMPTY|INCOMPLETE)_|status of 503/
  const others = watched.errors.filter((error) => !isAway.test(error))
  expect(others).toEqual([])
})

test('ten thousand records are scrubbed: list, slider and state stay in step', async () => {
  await using http = await HttpServer.listen({ port })
  const controller = await host.open()
  await http.serve(controller)
  const count = 10_000
  for (let made = 0; made < count; made += 500)
    await Promise.all(
      Array.from({ length: 500 }, (_, n) => controller.access.refuse(null, { action: `try ${made + n}` })),
    )
  const last = controller.journal.lastSeq
  const watched = await WatchedPage.open(browser)
  const page = await enter(watched, 'journal?at=1')
  await page.getByRole('heading', { name: 'Record 1:' }).waitFor()
  const slider = page.getByRole('slider', { name: 'Record' })
  await expect.poll(() => slider.getAttribute('max'), { timeout: 60_000 }).toBe(String(last - 1))
  for (const at of [0, last - 1, 5000, 4999, 17]) {
    await slider.fill(String(at))
    await page.getByRole('heading', { name: `Record ${at + 1}:` }).waitFor()
    expect(await rowsOf(page, /./, { selected: true }).locator('.seq').innerText()).toBe(String(at + 1))
    await page.locator('.moment:not(.old)').waitFor()
  }
  await page.getByRole('listbox', { name: 'Records' }).focus()
  await page.keyboard.press('ArrowDown')
  await page.getByRole('heading', { name: 'Record 19:' }).waitFor()
  await page.keyboard.press('End')
  await page.getByRole('heading', { name: `Record ${last}:` }).waitFor()
  expect(await slider.inputValue()).toBe(String(last - 1))
  // Only what is seen is in the document.
  expect(await rowsOf(page, /./).count()).toBeLessThan(100)
  expect(watched.errors).toEqual([])
})
