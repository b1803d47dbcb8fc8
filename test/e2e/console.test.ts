import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { HttpServer } from '../../src/http/server.ts'
import { openBrowser, WatchedPage } from '../support/browser.ts'
import { ConsoleHost, rowsOf, visit } from '../support/console/console-host.ts'

// The console as a person has it: the built command line serves it, and a real browser shows it.

let browser: Browser
let place: ConsoleHost

beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser?.close())
beforeEach(async () => {
  place = await ConsoleHost.make()
})

test.each(['light', 'dark'] as const)('every page, %s: no error, no barrier', async (scheme) => {
  await place.up()
  await place.furnish(['a', 'b'])
  await place.asked('app', 'pin', 'notes', '--note', '<img src=x onerror=alert(1)>')
  await place.session('echo ready; exec sleep 600')
  const watched = await WatchedPage.open(browser, { scheme })
  const page = await place.enter(watched)
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
  await place.up()
  const watched = await WatchedPage.open(browser)
  const { page } = watched
  await page.goto(place.linkWith('instar_owner_wrong'))
  await page.getByText('This token opens nothing.').waitFor()
  expect(page.url()).not.toContain('wrong')
  expect(await watched.barriers()).toEqual([])
  await page.getByLabel('Token').fill(await place.token())
  await page.getByRole('button', { name: 'Open' }).click()
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
  await page.getByRole('button', { name: 'Lock' }).click()
  await page.getByLabel('Token').waitFor()
})

test('what a role may not do is said where it would be done', async () => {
  await place.up()
  await place.furnish(['a'])
  const [made] = /instar_[0-9a-f]{12}_[\w-]{43}/.exec(await place.asked('access', 'add', 'member', '--workspace', 'a'))!
  const watched = await WatchedPage.open(browser)
  const { page } = watched
  await page.goto(place.linkWith(made!))
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
  await place.up()
  await place.furnish(['a'])
  const evil = '<img src=x onerror="document.title=1"><b>bold</b>'
  await place.asked('app', 'pin', 'notes', '--note', evil)
  await place.session(`printf '%s\\n' '${evil}'; exec sleep 600`)
  const watched = await WatchedPage.open(browser)
  const page = await place.enter(watched, 'apps')
  await page.getByText(evil).waitFor()
  await visit(page, 'journal?run=app-pin')
  await visit(page, 'terminals?daemon=main&session=work')
  await page.locator('.xterm-rows').getByText('onerror').waitFor()
  expect(await page.locator('img[src="x"], main b').count()).toBe(0)
  expect(watched.errors).toEqual([])
})

test('a record appears in the journal when it is written, in every page that is open', async () => {
  await place.up()
  const pages = [await WatchedPage.open(browser), await WatchedPage.open(browser)]
  for (const watched of pages) await place.enter(watched, 'journal')
  await place.asked('workspace', 'add', 'fresh')
  for (const { page, errors } of pages) {
    await rowsOf(page, /workspace-adjust-\d+/)
      .first()
      .waitFor()
    expect(errors).toEqual([])
  }
})

test('the list of records stays at its end while records come, and where its reader has scrolled it to', async () => {
  await using http = await HttpServer.listen({ port: place.port })
  const controller = await place.host.open()
  await http.serve(controller)
  const written = async (count: number) => {
    for (let n = 0; n < count; n += 1) await controller.access.refuse(null, { action: `try ${n}` })
  }
  const watched = await WatchedPage.open(browser)
  await written(100)
  const page = await place.enter(watched, 'journal')
  const list = page.getByRole('listbox', { name: 'Records' })
  const lastDrawn = async () => Math.max(...(await list.locator('.seq').allInnerTexts()).map(Number))
  const fromEnd = () => list.evaluate((box) => Math.round(box.scrollHeight - box.scrollTop - box.clientHeight))
  const length = async () => Number(await rowsOf(page, /./).first().getAttribute('aria-setsize'))

  await written(400)
  await expect.poll(lastDrawn).toBe(controller.journal.lastSeq)
  await expect.poll(fromEnd).toBe(0)

  await list.hover()
  await page.mouse.wheel(0, -3000)
  await page.getByRole('button', { name: 'Follow', pressed: false }).waitFor()
  await expect.poll(fromEnd).toBeGreaterThan(2000)
  const [top, before] = [await list.evaluate((box) => box.scrollTop), await length()]
  await written(60)
  await expect.poll(length).toBe(before + 60)
  expect(await list.evaluate((box) => box.scrollTop)).toBe(top)

  await page.getByRole('button', { name: 'Follow' }).click()
  await written(60)
  await expect.poll(lastDrawn).toBe(controller.journal.lastSeq)
  await expect.poll(fromEnd).toBe(0)
  expect(watched.errors).toEqual([])
})

test('an upgrade of an app is watched as it happens: from another page, and through a reload', async () => {
  await place.up()
  await place.furnish(['a', 'b', 'c'])
  place.publishApp('2.0.0')
  const asking = await WatchedPage.open(browser)
  const watching = await WatchedPage.open(browser)
  const page = await place.enter(asking, 'apps')
  await place.enter(watching, 'apps')
  const gate = place.host.registry.hold('tarball', { package: 'notes' })
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
  await place.up()
  const stop = join(place.host.directory, 'stop')
  await place.session(
    `i=0; while [ ! -e ${stop} ]; do i=$((i+1)); echo "line $i."; sleep 0.02; done; echo "$i in all"; exec sleep 600`,
  )
  const watched = await WatchedPage.open(browser)
  const page = await place.enter(watched, 'terminals?daemon=main&session=work')
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
  const first = await place.up()
  await place.session('while :; do read -r word; echo "heard $word"; done')
  const watched = await WatchedPage.open(browser)
  const page = await place.enter(watched, 'terminals?daemon=main&session=work')
  await page.getByText('Attached', { exact: true }).waitFor()
  first.child.kill('SIGKILL')
  await first.ended
  await page.getByText('Offline', { exact: true }).waitFor()
  await page.getByText('The controller does not answer.').waitFor()
  expect(await watched.barriers()).toEqual([])
  await place.up()
  await page.getByText('Live', { exact: true }).waitFor()
  await page.getByText('Attached', { exact: true }).waitFor()
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.type('again\n')
  await page.locator('.xterm-rows').getByText('heard again').waitFor()
  await place.asked('workspace', 'add', 'later')
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
  await using http = await HttpServer.listen({ port: place.port })
  const controller = await place.host.open()
  await http.serve(controller)
  const count = 10_000
  for (let made = 0; made < count; made += 500)
    await Promise.all(
      Array.from({ length: 500 }, (_, n) => controller.access.refuse(null, { action: `try ${made + n}` })),
    )
  const last = controller.journal.lastSeq
  const watched = await WatchedPage.open(browser)
  const page = await place.enter(watched, 'journal?at=1')
  await page.getByRole('heading', { name: 'Record 1:' }).waitFor()
  const slider = page.getByRole('slider', { name: 'Record' })
  await expect.poll(() => slider.getAttribute('max')).toBe(String(last - 1))
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
