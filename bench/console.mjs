// The console, in Chromium: how soon a record is seen, how fast a journal is scrubbed, and what pages cost the controller.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { inScratch, inTurns, median, percentile, row } from './measure.mjs'

const hostProgram = fileURLToPath(new URL('./console-host.mjs', import.meta.url))
const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'

export async function consolePage({ part } = {}) {
  await access(executablePath).catch(() => {
    throw new Error(`there is no ${executablePath}: install Debian's chromium, or name one by CHROMIUM_PATH`)
  })
  const parts = { seen, scrubs, paint, tenPages }
  const wanted = part === undefined ? Object.values(parts) : [parts[part]]
  const rows = []
  for (const measure of wanted)
    rows.push(...(await inScratch((directory) => withHost(join(directory, 'home'), (host) => measure(host)))))
  return rows
}

/** Calls `work` with a controller in another process and a browser. */
async function withHost(home, work) {
  const child = fork(hostProgram, [home])
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  try {
    const [link] = await once(child, 'message')
    return await work({
      async ask(name, options) {
        child.send({ name, options })
        return (await once(child, 'message'))[0]
      },
      async page(path) {
        const page = await (await browser.newContext()).newPage()
        await page.goto(link)
        await page.getByText('Live', { exact: true }).waitFor()
        await page.evaluate((hash) => {
          location.hash = hash
        }, `#/${path}`)
        return page
      },
    })
  } finally {
    await browser.close()
    const ended = once(child, 'exit')
    child.disconnect()
    await ended
  }
}

/** From the moment a record is durable to the frame that shows it in the list. */
async function seen({ ask, page: open }) {
  await ask('fill', { count: 500 })
  const page = await open('journal')
  await page.getByRole('listbox', { name: 'Records' }).waitFor()
  await page.evaluate(() => {
    window.shownAt = {}
    const note = () => {
      // The frame after this one has it on the screen.
      for (const { textContent } of document.querySelectorAll('.virtual-row .seq'))
        if (!(textContent in window.shownAt)) {
          window.shownAt[textContent] = null
          requestAnimationFrame(() => {
            window.shownAt[textContent] = performance.timeOrigin + performance.now()
          })
        }
    }
    new MutationObserver(note).observe(document.querySelector('main'), {
      subtree: true,
      childList: true,
      characterData: true,
    })
  })
  const written = await ask('write', { count: 200, everyMs: 53 })
  await page.waitForTimeout(500)
  const shown = await page.evaluate(() => window.shownAt)
  const waits = written.map(([seq, at]) => shown[seq] - at).filter(Number.isFinite)
  if (waits.length < written.length) throw new Error(`${written.length - waits.length} records were never seen`)
  return [
    row({
      name: 'console: a durable record is on the page, p50',
      value: median(waits),
      unit: 'ms',
      peer: `p99 ${percentile(waits, 0.99).toFixed(0)}`,
      ratio: median(waits),
      goal: '<= 50 (ms)',
    }),
  ]
}

/** A thousand steps of the slider, each until list and heading have it; what the browser paints of them is its own affair. */
async function scrubs({ ask, page: open }) {
  const count = await ask('fill', { count: 10_000 })
  const page = await open('journal?at=1')
  await page.getByRole('heading', { name: 'Record 1:' }).waitFor()
  await page.waitForFunction((last) => document.querySelector('input[type=range]').max === String(last - 1), count)
  const scrub = (round) =>
    page.evaluate(async (from) => {
      const slider = document.querySelector('input[type=range]')
      const isShown = (seq) =>
        document.querySelector('.journal-detail h2').textContent.startsWith(`Record ${seq}:`) &&
        document.querySelector('.virtual-row[aria-selected=true] .seq')?.textContent === String(seq)
      const start = performance.now()
      for (let step = 1; step <= 1000; step += 1) {
        slider.value = String(from + step)
        slider.dispatchEvent(new Event('input', { bubbles: true }))
        for (let turn = 0; !isShown(from + step + 1); turn += 1) {
          if (turn > 1000) throw new Error(`step ${step} is not drawn`)
          await null
        }
      }
      return performance.now() - start
    }, round * 1500)
  const { steps } = await inTurns(5, { steps: scrub })
  return [
    row({
      name: 'console: 1 000 steps through 10 000 records',
      value: median(steps),
      unit: 'ms',
      peer: 'none',
      ratio: median(steps) / 1000,
      goal: '<= 0.5 (s)',
    }),
  ]
}

/** Of a page that was open before: until it shows what the controller runs. */
async function paint({ ask, page: open }) {
  await ask('fill', { count: 500 })
  const page = await open('overview')
  await page.addInitScript(() => {
    const isThere = () =>
      document.querySelector('main h1') !== null && /as it should be/.test(document.body.textContent)
    new MutationObserver((_, observer) => {
      if (!isThere()) return
      observer.disconnect()
      requestAnimationFrame(() => {
        window.usefulAt = performance.now()
      })
    }).observe(document, { subtree: true, childList: true, characterData: true })
  })
  const { paints } = await inTurns(12, {
    async paints() {
      await page.reload()
      await page.waitForFunction(() => window.usefulAt !== undefined)
      return page.evaluate(() => window.usefulAt)
    },
  })
  const value = median(paints.slice(2))
  return [
    row({
      name: 'console: first useful paint, warm',
      value,
      unit: 'ms',
      peer: 'none',
      ratio: value,
      goal: '<= 300 (ms)',
    }),
  ]
}

const pages = 10
const busy = { count: 300, everyMs: 50 }

/** What a journal of twenty records a second costs the controller's process with ten pages that show it, and with none. */
async function tenPages({ ask, page: open }) {
  await ask('fill', { count: 500 })
  const share = async () => {
    const before = await ask('usage')
    await ask('write', busy)
    const after = await ask('usage')
    return (after.cpuMs - before.cpuMs) / (busy.count * busy.everyMs)
  }
  await share()
  const alone = await share()
  for (let opened = 0; opened < pages; opened += 1) await open('journal')
  await share()
  const { megabytes: before } = await ask('usage')
  const watched = await share()
  const { megabytes } = await ask('usage')
  const value = 100 * (watched - alone)
  return [
    row({
      name: `console: ${pages} pages on a busy journal, controller`,
      value,
      unit: '% core',
      peer: `${(100 * alone).toFixed(1)} alone`,
      ratio: value,
      goal: '<= 5 (%)',
    }),
    row({
      name: `console: the same, memory of the controller grows`,
      value: megabytes - before,
      unit: 'MB',
      peer: `${megabytes.toFixed(0)} in all`,
      ratio: megabytes - before,
      goal: '<= 20 (MB)',
    }),
  ]
}
