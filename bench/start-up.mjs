// What a command costs beyond starting Node.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { inScratch, inTurns, median, row, timed } from './measure.mjs'

const main = fileURLToPath(new URL('../dist/cli.js', import.meta.url))
const run = promisify(execFile)

export const startUp = () =>
  inScratch(async (directory) => {
    const node = (...args) => timed(() => run(process.execPath, args).catch(() => {})) // `status` ends with 3 here
    const home = join(directory, 'home')
    const times = await inTurns(25, {
      bare: () => node('-e', '0'),
      version: () => node(main, '--version'),
      status: () => node(main, '--home', home, 'status'),
    })
    const [bare, version, status] = [times.bare, times.version, times.status].map(median)
    const line = (name, value, most) =>
      row({
        name,
        value,
        unit: 'ms',
        peer: bare,
        ratio: value / bare,
        goal: `<= ${most} ms more than node -e 0`,
        ok: value - bare <= most,
      })
    return [line('instar --version', version, 50), line('instar status', status, 130)]
  })
