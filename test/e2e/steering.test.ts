import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { openController } from '../../src/embedded.ts'
import { backup } from '../support/backup.ts'
import { openBrowser, WatchedPage } from '../support/browser.ts'
import { ConsoleHost, rowsOf, visit } from '../support/console/console-host.ts'
import { Host } from '../support/host.ts'

// What a person does on the console's pages, each with a real controller and a real browser.

/** What is read twice alike. */
async function stable(read: () => Promise<string>): Promise<string> {
  for (let last = await read(); ; ) {
    await sleep(300)
    const now = await read()
    if (now === last) return now
    last = now
  }
}

let browser: Browser

beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser?.close())

/** A controller and a page, and what to look at when all is done. */
async function opened(path: string, runtime: object = {}) {
  const place = await ConsoleHost.make(runtime)
  await place.up()
  const watched = await WatchedPage.open(browser)
  const page = await place.enter(watched, path)
  const isWithoutFault = async () => {
    expect(await watched.barriers()).toEqual([])
    expect(watched.errors).toEqual([])
  }
  return { place, page, isWithoutFault }
}

test('a plugin is installed, brought up to date, rolled back, verified and removed', async () => {
  const { place, page, isWithoutFault } = await opened('plugins')
  const publish = (version: string) =>
    place.host.registry.publish('tint', version, { 'index.js': `export default '${version}'` })
  const card = page.locator('section', { has: page.getByRole('heading', { name: 'tint' }) })
  const install = async (spec: string) => {
    await page.getByLabel('Install').fill(spec)
    await page.getByRole('button', { name: 'Install' }).click()
  }
  publish('1.0.0')
  await install('tint')
  await page.getByText('tint: installed 1.0.0').waitFor()
  await card.locator('header').getByText('1.0.0').waitFor()
  expect(await page.getByRole('button', { name: 'Roll back tint' }).isDisabled()).toBe(true)
  publish('2.0.0')
  await install('tint')
  await card.locator('header').getByText('2.0.0').waitFor()
  await install('tint@9.9.9')
  await page.getByText('tint: failed').waitFor()
  await page.getByText('has no tint@9.9.9').waitFor()
  await page.getByRole('button', { name: 'Verify tint' }).click()
  await page.getByText('tint: every file is as it was installed').waitFor()
  await page.getByRole('button', { name: 'Roll back tint' }).click()
  await page.getByRole('button', { name: 'Roll back', exact: true }).last().click()
  await card.locator('header').getByText('1.0.0').waitFor()
  await isWithoutFault()
  await page.getByRole('button', { name: 'Remove tint' }).click()
  await page.getByRole('button', { name: 'Remove it' }).click()
  await page.getByText('tint is gone.').waitFor()
  await isWithoutFault()
})

test('a version is banned with a reason and let in again, and a newer one is staged and launched', async () => {
  const { place, page, isWithoutFault } = await opened('runtime')
  await page.getByRole('button', { name: 'Ban 2.0.0 of tool' }).click()
  await page.getByLabel('Why').fill('it crashes on <b>tuesdays</b>')
  await page.getByRole('button', { name: 'Ban it' }).click()
  await page.getByRole('listitem').getByText('it crashes on <b>tuesdays</b>').waitFor()
  await isWithoutFault()
  await page.getByRole('button', { name: 'Unban 2.0.0 of tool' }).click()
  await page.getByText('2.0.0 may be used again.').waitFor()
  await page.getByRole('heading', { name: 'Banned' }).waitFor({ state: 'detached' })
  place.host.publish('2.1.0')
  await page.getByRole('button', { name: 'Check for updates' }).click()
  await page.getByText(/^2\.1\.0 is staged/).waitFor() // by this, or just before by the controller itself
  await page.getByRole('button', { name: 'Restart into 2.1.0' }).click()
  await page.getByText('tool runs 2.1.0.').waitFor()
  await isWithoutFault()
})

test('of a version that is too young the page says when it is old enough', async () => {
  const { page, isWithoutFault } = await opened('runtime', { policy: { minimumReleaseAge: '3d' } })
  await page.getByRole('button', { name: 'Check for updates' }).click()
  await page.getByText('too-young: 2.0.0').waitFor()
  await page.getByText('old enough in 2 days').waitFor()
  await isWithoutFault()
})

test('a run that failed is found, exported and tried again, and the failed attempt is kept', async () => {
  const { place, page, isWithoutFault } = await opened('journal')
  // That of the controller itself, as it starts: what is asked for meanwhile would be the same.
  await rowsOf(page, /runtime-update-\d+ .*staged/)
    .last()
    .waitFor()
  const mend = place.host.registry.misbehave('packument', 'status')
  await place.host.instar('runtime', 'check', 'tool')
  await page.getByLabel('Outcome').selectOption('failed')
  await rowsOf(page, /runtime-update-\d+/)
    .last()
    .click()
  const title = await page.getByRole('heading', { level: 2, name: /^Record / }).innerText()
  const download = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Export this run' }).click()
  const { run, records } = JSON.parse(await readFile(await (await download).path(), 'utf8'))
  expect(run).toMatchObject({ status: 'done', output: { outcome: 'check-failed' } })
  expect(records.length).toBeGreaterThan(2)
  expect(records.every((record: { run: string }) => record.run === run.run)).toBe(true)
  mend()
  place.host.publish('2.1.0')
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByText(/^tool: (already-)?staged/).waitFor()
  // It is still what is looked at.
  await page.getByRole('heading', { name: title }).waitFor()
  await page.getByLabel('Outcome').selectOption('any')
  await rowsOf(page, new RegExp(`${run.run} .*check-failed`)).waitFor()
  await rowsOf(page, /runtime-update-\d+ .*staged/)
    .last()
    .waitFor()
  await isWithoutFault()
})

test('an app is pinned with a note, which keeps it where it is, and unpinned', async () => {
  const { place, page, isWithoutFault } = await opened('apps')
  await place.furnish(['a'])
  await page.getByRole('button', { name: 'Pin notes', exact: true }).click()
  await page.getByLabel('Why').fill('until the import works')
  await page.getByRole('button', { name: 'Pin it' }).click()
  await page.getByText('until the import works').waitFor()
  expect(await page.getByRole('button', { name: 'Upgrade notes' }).isDisabled()).toBe(true)
  expect(JSON.parse(await place.asked('app', 'list', '--json'))).toMatchObject({
    apps: [{ pin: { version: '1.0.0', note: 'until the import works' } }],
  })
  await isWithoutFault()
  await page.getByRole('button', { name: 'Unpin notes' }).click()
  await page.getByText('notes may be upgraded again.').waitFor()
  await expect.poll(() => page.getByRole('button', { name: 'Upgrade notes' }).isDisabled()).toBe(false)
})

test('a state or a transition that is clicked says what it does, and which records went through it', async () => {
  const { place, page, isWithoutFault } = await opened('charts/runtime-update')
  place.host.publish('2.1.0')
  await place.asked('runtime', 'check', 'tool')
  const aside = page.getByRole('complementary', { name: 'What was chosen' })
  const stateNamed = (name: string) =>
    page.locator(`.drawing [data-state]`, { has: page.locator('text', { hasText: new RegExp(`^${name}$`) }) }).last()
  await stateNamed('staged').click()
  await aside.getByRole('heading', { name: 'staged' }).waitFor()
  await aside.getByText('end', { exact: true }).waitFor()
  const link = aside.getByRole('heading', { name: 'Records that led here' }).locator('xpath=following-sibling::ol//a')
  const seq = await link.first().innerText()
  await aside
    .getByRole('heading', { name: 'To here' })
    .locator('xpath=following-sibling::ul[1]//button')
    .first()
    .click()
  await aside.getByRole('heading', { name: 'Records that took it' }).waitFor()
  await isWithoutFault()
  await page.locator('.drawing [data-edges]').first().click()
  await aside.getByText('From', { exact: true }).first().waitFor()
  await visit(page, `journal?at=${seq}`)
  await page.getByRole('heading', { level: 2, name: `Record ${seq}:` }).waitFor()
  await isWithoutFault()
})

test('a terminal that was scrolled back stands where it stood when its page is loaded anew', async () => {
  const { place, page, isWithoutFault } = await opened('terminals')
  await place.session('seq 1 500; exec cat')
  await visit(page, 'terminals?daemon=main&session=work')
  const rows = page.locator('.xterm-rows')
  await rows.getByText('500', { exact: true }).waitFor()
  const topLine = () => rows.locator('div').first().innerText()
  await page.locator('.xterm-helper-textarea').focus()
  for (const _ of [1, 2, 3]) await page.keyboard.press('Shift+PageUp')
  // 500 lines; what is seen of them is more than 20.
  await expect.poll(async () => Number((await topLine()) || 500)).toBeLessThan(430)
  const seen = await stable(topLine)
  for (const _ of [1, 2]) {
    await page.reload()
    await expect.poll(topLine).toBe(seen)
  }
  await isWithoutFault()
})

test("a host's own procedure is drawn beside the page, and followed like the controller's own", async () => {
  const host = await Host.make({ bundled: null })
  onTestFinished(() => host[Symbol.asyncDispose]())
  let attempts = 0
  const copy = async () => {
    attempts += 1
    if (attempts === 1) throw new Error('no room')
    return 3
  }
  await using controller = await openController({
    home: host.home,
    config: host.config(),
    schedule: false,
    procedures: [{ machine: backup, effects: { copy } }],
    console: { port: 0 },
  })
  const watched = await WatchedPage.open(browser)
  const { page } = watched
  await page.goto(controller.consoleLink!)
  await page.getByText('Live', { exact: true }).waitFor()
  const { run } = await controller.procedures.start('nightly-backup', {
    key: 'data',
    input: { folder: '/data' },
    busy: 'refuse',
  })
  await visit(page, 'charts/nightly-backup')
  await page.getByText('Copies a folder, and tries again when it is told to.').first().waitFor()
  const lit = page.locator('.drawing svg.statechart .state.active')
  await lit.getByText('waiting', { exact: true }).waitFor()
  // Every state has a place of its own.
  const places = await page.locator('.drawing [data-state]').evaluateAll((states) =>
    states.map((state) => {
      const { x, y } = state.getBoundingClientRect()
      return `${x} ${y}`
    }),
  )
  expect(new Set(places).size).toBe(places.length)
  expect(places.length).toBeGreaterThanOrEqual(4)
  await controller.procedures.send(run, { type: 'again' })
  await lit.getByText('kept', { exact: true }).waitFor()
  expect(await watched.barriers()).toEqual([])
  expect(watched.errors).toEqual([])
})
