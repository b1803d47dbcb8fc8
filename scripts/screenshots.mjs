// `npm run screenshots`: the pictures of the console in the README, of a real controller with real apps and a real terminal.
// Needs a Chromium (CHROMIUM_PATH, else /usr/bin/chromium).
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { withCompiled } from '../bench/compiled.mjs'
import { parseConfig } from '../dist/src/config.js'
import { openController } from '../dist/src/controller.js'
import { HttpServer } from '../dist/src/http/server.js'
import { startRegistry } from '../dist/src/testing/registry.js'

const pictures = fileURLToPath(new URL('../docs/images', import.meta.url))
const size = { width: 1180, height: 740 }
const workspaces = ['atelier', 'kitchen', 'library', 'workshop']

await mkdir(pictures, { recursive: true })
const directory = await mkdtemp(join(tmpdir(), 'instar-screenshots-'))
const registry = await startRegistry()
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
})
try {
  await withCompiled(['test/support/apps/app-code.ts'], async ({ load }) => {
    const { appCode } = await load('test/support/apps/app-code.ts')
    const publish = (name, version) =>
      registry.publish(name, version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs' })
    await take(publish)
  })
} finally {
  await browser.close()
  await registry[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
}

async function take(publish) {
  const http = await HttpServer.listen({ port: 0 })
  const raw = { registry: registry.url, apps: { policy: { parallel: 2, signatures: 'off' } } }
  const home = join(directory, 'home')
  const controller = await openController({ home, config: parseConfig(raw, directory), schedule: false })
  const link = await http.serve(controller)
  try {
    for (const name of ['notes', 'calendar']) publish(name, '1.4.0')
    for (const workspace of workspaces) {
      await controller.workspaces.add(workspace)
      await controller.apps.install('notes', { workspace })
    }
    await controller.apps.install('calendar', { workspace: 'atelier' })
    await controller.apps.pin('calendar', { note: 'the export is needed until January' })
    const script = 'i=0; while :; do i=$((i+1)); echo "line $i, printed by one shell all the time"; sleep 0.2; done'
    await controller.sessions.open({ id: 'builds', command: ['sh', '-c', script] })
    const page = await (await browser.newContext({ viewport: size })).newPage()
    const visit = (path) => page.evaluate((hash) => (location.hash = hash), `#/${path}`)
    const shoot = async (name, what) => {
      // Where this home happens to lie says nothing to a reader, and what was said before is no part of the picture.
      await page.locator('header .where').evaluate((element) => (element.style.visibility = 'hidden'))
      const dismiss = page.getByRole('button', { name: 'Dismiss this message' }).first()
      while (await dismiss.isVisible()) await dismiss.click()
      await what?.scrollIntoViewIfNeeded()
      await page.screenshot({ path: join(pictures, `${name}.png`) })
    }
    await page.goto(link)
    await page.getByText('4 of 4 workspaces serving').waitFor()
    await shoot('console-overview')

    const terminal = page.locator('.xterm-rows')
    await visit('terminals?daemon=main&session=builds')
    await terminal.getByText('line 3,').waitFor()
    await page.getByRole('button', { name: 'Upgrade daemon main' }).click()
    await page.getByText(/1 terminal went over/).waitFor()
    await page.locator('.handoff svg .state.active').first().waitFor()
    await page.getByText('What happens:').click()
    await page.waitForFunction(() => /Generation\s+2/.test(document.body.innerText))
    await shoot('console-terminal', terminal)

    // A short film: an upgrade that is held up where it fetches, and what it has come to.
    publish('notes', '2.0.0')
    await visit('apps?app=notes')
    const gate = registry.hold('tarball', { package: 'notes' })
    await page.getByRole('button', { name: 'Upgrade notes' }).click()
    await gate.reached
    await page.getByText('Upgrading notes: ').waitFor()
    await shoot('upgrade-1-asked')
    await visit('charts/app-upgrade')
    const active = page.locator('svg .state.active').first()
    await active.waitFor()
    await shoot('upgrade-2-fetching', page.locator('[data-state="app-upgrade.gating"]'))
    gate.release()
    await visit('apps?app=notes')
    await page.getByRole('row', { name: /^workshop 2\.0\.0 serving/ }).waitFor()
    await shoot('upgrade-3-everywhere')
  } finally {
    await controller.daemon.stop()
    await controller.close()
  }
}

await writeFile(join(pictures, 'README.md'), 'Made by `npm run screenshots`; nothing here is drawn by hand.\n')
