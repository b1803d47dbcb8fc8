import { describe, expect, test } from 'vitest'
import { ManagedPlugins } from '../src/managed-plugins.ts'
import type { Surveyed, Target } from '../src/plugins/target.ts'
import type { Interpreter } from '../src/run/interpreter.ts'
import type { RunState } from '../src/run/run.ts'

// Who waits for whom, and what is told of runs that break: on a target and an interpreter that do what the test says.

const nothing = { live: null, astray: null, previous: null, trees: [] }
const installed = {
  plugin: 'tint',
  target: 'web',
  outcome: 'installed',
  version: '1.0.0',
  from: null,
  change: 'restart',
}
const good = { status: 'done', output: { ...installed, failure: null, rollBackFailure: null } }
const broken = { status: 'error', error: { name: 'TypeError', message: 'a guard threw' } }

function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** @param ends How runs end, one after the other. */
function pluginsOn(target: Partial<Target>, ends: readonly (object | Promise<object>)[] = []) {
  const started: string[] = []
  const ended = async (run: string) => ({ run, ...(await ends[started.indexOf(run)]) }) as RunState
  const interpreter = {
    list: () => [],
    subscribe: () => () => {},
    get: () => undefined,
    ended,
    start: async (machine: string, { key }: { key: string }) => {
      const run = `${machine} ${key} ${started.length}`
      started.push(run)
      return { run }
    },
  }
  const plugins = new ManagedPlugins({
    interpreter: interpreter as unknown as Interpreter,
    targets: { address: (name: string) => name, at: () => ({ owner: 'me', ...target }) } as any,
    subscriptions: {},
    keep: 2,
    contributions: async () => null,
    resolve: () => Promise.reject(new Error('nobody asks')),
  })
  return { plugins, started }
}

const surveyed = (...names: string[]): Surveyed[] => names.map((plugin) => ({ plugin, shelf: nothing }))

describe('a sweep', () => {
  test('leaves alone what began to be installed while the target was looked at', async () => {
    const { open, opened } = gate()
    const swept: string[] = []
    const survey = () => opened.then(() => surveyed('shade', 'tint'))
    const sweep = async (plugin: string) => {
      swept.push(plugin)
      return []
    }
    const over = gate()
    const { plugins, started } = pluginsOn({ survey, sweep }, [over.opened.then(() => good)])
    const sweeping = plugins.sweep({ target: 'web' })
    const installing = plugins.install('tint@1.0.0', { target: 'web' })
    open()
    await sweeping
    over.open()
    await installing
    expect(swept).toEqual(['shade'])
    expect(started).toHaveLength(1)
  })

  test('keeps an install waiting until it is through with that plugin', async () => {
    const [began, over] = [gate(), gate()]
    const sweep = async () => {
      began.open()
      await over.opened
      return []
    }
    const { plugins, started } = pluginsOn({ survey: async () => surveyed('tint'), sweep }, [good])
    const sweeping = plugins.sweep({ target: 'web' })
    await began.opened
    const installing = plugins.install('tint@1.0.0', { target: 'web' })
    await new Promise(setImmediate)
    expect(started).toEqual([])
    over.open()
    await sweeping
    expect(await installing).toMatchObject({ outcome: 'installed' })
  })
})

describe('a run that breaks', () => {
  test('is told as a defect', async () => {
    const { plugins } = pluginsOn({}, [broken])
    await expect(plugins.install('tint@1.0.0', { target: 'web' })).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringContaining('a guard threw'),
    })
  })

  test('takes nothing from what is told of the others', async () => {
    const { plugins } = pluginsOn({}, [good, broken, good])
    expect(await plugins.installEach(['tint', 'shade', 'hue'], { target: 'web' })).toMatchObject([
      { spec: 'tint', outcome: 'installed' },
      { spec: 'shade', plugin: 'shade', outcome: 'blocked', code: 'INTERNAL' },
      { spec: 'hue', outcome: 'installed' },
    ])
  })
})

test('who looks, and is asked to end, takes the step on the target with them', async () => {
  const heard: string[] = []
  const waiting = (what: string) => (signal?: AbortSignal) =>
    new Promise<never>((_, reject) =>
      signal?.addEventListener('abort', () => {
        heard.push(what)
        reject(signal.reason)
      }),
    )
  const survey = waiting('survey')
  const shelf = (_: string, signal?: AbortSignal) => waiting('shelf')(signal)
  const { plugins } = pluginsOn({ survey, shelf })
  const over = new AbortController()
  const asked = { target: 'web', signal: over.signal }
  const all = [
    plugins.list(asked),
    plugins.verify(undefined, asked),
    plugins.verify('tint', asked),
    plugins.sweep(asked),
  ]
  const ended = Promise.allSettled(all)
  over.abort()
  expect((await ended).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'rejected'])
  expect(heard.sort()).toEqual(['shelf', 'survey', 'survey', 'survey'])
})
