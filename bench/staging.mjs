// Staging the real package from the real registry, beside `pacote.extract` and a flush; and a check with nothing new.
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import pacote from 'pacote'
import { parseConfig } from '../dist/src/config.js'
import { openController } from '../dist/src/controller.js'
import { flushTree } from '../dist/src/disk.js'
import { startRegistry } from '../dist/src/testing/registry.js'
import { inScratch, inTurns, median, row, timed } from './measure.mjs'

/** Milliseconds from the start of a check until the release is sealed: all but the trial start, which pacote has not. */
async function stage(directory) {
  const runtime = { package: 'kanban', entry: 'dist/cli.js', probe: { tcp: true }, policy: { engines: 'warn' } }
  const config = parseConfig({ runtimes: { kanban: runtime } }, directory)
  const controller = await openController({ home: join(directory, 'home'), config, schedule: false })
  const sealed = new AbortController()
  let run
  const onProgress = ({ phase }) => {
    run = controller.state().runs[0]?.run ?? run
    if (phase === 'qualifying') sealed.abort()
  }
  await controller
    .runtime('kanban')
    .check({ signal: sealed.signal, onProgress })
    .catch(() => {})
  const times = []
  for await (const record of controller.journal.read())
    if (record.run === run) times.push([record.event.type, record.at])
  await controller.close()
  return times.find(([type]) => type === 'xstate.done.actor.seal')[1] - times[0][1]
}

async function stagingKanban() {
  let round = 0
  const times = await inTurns(3, {
    instar: () => inScratch(stage),
    pacote: () =>
      inScratch((directory) =>
        timed(async () => {
          round += 1
          const tree = join(directory, 'tree')
          await pacote.extract('kanban@latest', tree, { cache: join(directory, `cache-${round}`), fullMetadata: false })
          await flushTree(tree)
        }),
      ),
  })
  const [value, peer] = [median(times.instar), median(times.pacote)]
  return row({
    name: 'staging kanban',
    value,
    unit: 'ms',
    peer,
    ratio: value / peer,
    goal: '<= 1.3 × pacote.extract + flush',
  })
}

/** Everything in a home but its journal: names, sizes, and when each was written. */
async function filesOf(home) {
  const paths = (await readdir(home, { recursive: true })).filter((path) => !path.startsWith('journal')).sort()
  const lines = paths.map(async (path) => {
    const { size, mtimeMs, ino } = await lstat(join(home, path))
    return `${path} ${size} ${mtimeMs} ${ino}`
  })
  return (await Promise.all(lines)).join('\n')
}

const nothingNew = () =>
  inScratch(async (directory) => {
    const registry = await startRegistry()
    registry.publish('tool', '1.0.0', {
      'main.mjs': `import { createServer } from 'node:net'; createServer().listen(process.argv[2], '127.0.0.1')`,
    })
    const runtime = { package: 'tool', entry: 'main.mjs', args: ['${port}'], probe: { tcp: true } }
    const config = parseConfig({ registry: registry.url, runtimes: { tool: runtime } }, directory)
    const home = join(directory, 'home')
    const controller = await openController({ home, config, schedule: false })
    await controller.runtime('tool').check()
    const [before, asked] = [await filesOf(home), registry.requests.length]
    const { outcome } = await controller.runtime('tool').check()
    const requests = registry.requests.slice(asked)
    const after = await filesOf(home)
    await controller.close()
    await registry[Symbol.asyncDispose]()
    const ok = outcome === 'already-staged' && requests.length === 1 && requests[0].status === 304 && after === before
    return row({
      name: 'a check with nothing new',
      value: requests.length,
      unit: 'requests',
      peer: 1,
      ratio: requests.length,
      goal: '<= 1 conditional request, nothing written but the record',
      ok,
    })
  })

export const staging = async () => [await stagingKanban(), await nothingNew()]
