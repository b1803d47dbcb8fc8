import { mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { daemonSupervision, type SupervisionContext, type SupervisionInput } from '../../machines/index.ts'
import { openHome } from '../../src/home.ts'
import { packageVersion } from '../../src/package-info.ts'
import { askDaemon } from '../../src/sessions/ask-daemon.ts'
import { daemonDirectory } from '../../src/sessions/daemon-place.ts'
import type { DaemonCommand } from '../../src/sessions/protocol.ts'
import { startDaemon } from '../../src/sessions/start-daemon.ts'
import type { Ended, Scenario } from '../../src/testing/kill-matrix.ts'
import { Passages } from '../../src/testing/passages.ts'
import { type Compiled, compile } from '../support/compiled.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { compileNative } from '../support/sessions/keeper.ts'
import type { Plan, Rule, Scene } from './plan.ts'

const oldVersion = '0.0.1'
const sessionCount = 3
const passages = new Passages(daemonSupervision)
const { signal } = new AbortController()

interface Supervision {
  /** A daemon with sessions that is there before. */
  readonly finds?: typeof oldVersion | typeof packageVersion
  readonly autoUpdate?: boolean
  /** The host's daemon is a program that ends at once. */
  readonly isBroken?: true
  readonly rules?: readonly Rule[]
  readonly script: readonly Scene[]
  /** Who asked for something and is told that it failed. */
  readonly refuses?: readonly string[]
  /** The version of the daemon that runs afterwards. The sessions that were there before are still there. */
  readonly leaves: string | null
  /** How fast the machine's time runs. */
  readonly pace?: number
}

const wish = (when: string, type: string, id: string): Scene => ({ when, event: { type, id } })
const expects = (when: string): Scene => ({
  when,
  event: { type: 'expect', wanted: packageVersion, autoUpdate: false },
})
const release = (when: string): Scene => ({ when, event: { type: 'release' } })
/** So that nothing is tried again before somebody asks. */
const standsStill = 0.001
const gone = { code: 'DAEMON_GONE' }

const all: Record<string, Supervision> = {
  'everything is asked before it is known what is there': {
    rules: [{ effect: 'locate', waits: 5 }],
    script: [
      wish('locating', 'start', 'a'),
      wish('locating', 'update', 'b'),
      expects('locating'),
      wish('locating', 'restart', 'c'),
      wish('locating', 'stop', 'd'),
      wish('absent', 'update', 'e'),
      wish('absent', 'stop', 'f'),
      release('absent'),
    ],
    refuses: ['e'],
    leaves: null,
  },
  'it is let go while it is looked for': {
    finds: oldVersion,
    autoUpdate: true,
    rules: [{ effect: 'locate', waits: 1 }],
    script: [release('locating')],
    leaves: oldVersion,
  },
  'it is let go while nobody knows whether it is there': {
    rules: [{ effect: 'locate', performs: false, waits: 1, fails: { code: 'DAEMON_SILENT' } }],
    script: [release('locating')],
    leaves: null,
  },
  'one thing is asked after the other': {
    script: [
      wish('absent', 'start', 'a'),
      wish('running', 'start', 'b'),
      wish('running', 'update', 'c'),
      wish('running', 'restart', 'd'),
      wish('running', 'stop', 'e'),
      wish('absent', 'restart', 'f'),
      release('running'),
    ],
    leaves: packageVersion,
  },
  'one that runs is killed, and updated by somebody else': {
    finds: packageVersion,
    script: [
      expects('running'),
      { when: 'running', befalls: 'it is killed' },
      { when: 'running', befalls: 'it is updated' },
      release('running'),
    ],
    leaves: packageVersion,
  },
  'an older one is replaced': {
    finds: oldVersion,
    autoUpdate: true,
    script: [release('running.upToDate')],
    leaves: packageVersion,
  },
  'an older one cannot be replaced': {
    finds: oldVersion,
    autoUpdate: true,
    isBroken: true,
    script: [release('running.keptOld')],
    leaves: oldVersion,
  },
  'it cannot be updated or stopped at first': {
    finds: oldVersion,
    rules: [
      { effect: 'update', fails: gone, times: 1 },
      { effect: 'stop', performs: false, fails: gone, times: 1 },
    ],
    script: [
      wish('running.outdated', 'update', 'a'),
      wish('running.upToDate', 'stop', 'b'),
      release('running.upToDate'),
    ],
    refuses: ['a', 'b'],
    leaves: packageVersion,
  },
  'one that runs cannot be watched': {
    finds: packageVersion,
    pace: standsStill,
    rules: [{ effect: 'watch', performs: false, fails: gone }],
    script: [release('unclear')],
    leaves: packageVersion,
  },
  'it cannot be known at first whether one is there': {
    pace: 20,
    rules: [{ effect: 'locate', performs: false, fails: { code: 'DAEMON_SILENT' }, times: 1 }],
    script: [release('absent')],
    leaves: null,
  },
  'none can be started': {
    rules: [{ effect: 'start', performs: false, fails: { code: 'DAEMON_SPAWN_FAILED' } }],
    script: [wish('absent', 'start', 'a'), release('absent')],
    refuses: ['a'],
    leaves: null,
  },
  'it cannot be known whether one is there': {
    rules: [{ effect: 'locate', performs: false, fails: { code: 'DAEMON_SILENT' } }],
    pace: standsStill,
    script: [
      wish('unclear', 'start', 'a'),
      wish('unclear', 'update', 'b'),
      wish('unclear', 'restart', 'c'),
      wish('unclear', 'stop', 'd'),
      expects('unclear'),
      release('unclear'),
    ],
    refuses: ['a', 'b', 'c', 'd'],
    leaves: null,
  },
}

/** What all scenarios share: the controller's program, and daemons of two versions. */
export class SupervisionStage implements AsyncDisposable {
  private readonly homes: string[] = []

  private constructor(
    private readonly compiled: Compiled,
    private readonly old: string,
  ) {}

  static async build(): Promise<SupervisionStage> {
    const compiled = await compile('test/crash/program.ts', 'src/sessions/daemon-main.ts')
    await compileNative(compiled.file('dist/native/keeper'))
    const old = await realpath(await mkdtemp(join(tmpdir(), 'instar-old-daemon-')))
    await compiled.copy(old, 'src/sessions/daemon-main.ts', oldVersion)
    return new SupervisionStage(compiled, old)
  }

  get program(): string {
    return this.compiled.file('test/crash/program.ts')
  }

  scenarios(): Scenario[] {
    return Object.entries(all).map(([name, supervision]) => this.scenario(name, supervision))
  }

  private get keeper(): string {
    return this.compiled.file('dist/native/keeper')
  }

  private command(version: string): DaemonCommand {
    const folder = version === oldVersion ? this.old : this.compiled.file('.')
    return [process.execPath, join(folder, 'src/sessions/daemon-main.js')]
  }

  private scenario(name: string, supervision: Supervision): Scenario {
    const { finds, autoUpdate = false, isBroken, rules = [], script, pace = 1 } = supervision
    const input: SupervisionInput = { name: 'main', wanted: packageVersion, autoUpdate }
    const command: DaemonCommand = isBroken ? [process.execPath, '-e', 'process.exit(3)'] : this.command(packageVersion)
    const plan: Plan = {
      machine: 'daemon-supervision',
      key: 'main',
      input,
      config: { registry: 'http://127.0.0.1:9' },
      daemons: { command, keeper: this.keeper },
      since: Date.now(),
      pace,
      rules,
      sends: [],
      script,
    }
    const shells = new Map<string, readonly number[]>()
    return {
      name,
      args: [JSON.stringify(plan)],
      ends: ['released'],
      prepare: async (home) => {
        this.homes.push(home)
        await openHome(home)
        shells.set(home, finds === undefined ? [] : await this.startWithSessions(home, finds))
      },
      check: async (ended) => {
        assertAnswered(ended, supervision)
        await inspect(ended.home, supervision.leaves, shells.get(ended.home)!)
      },
    }
  }

  /** The pids of its shells. */
  private async startWithSessions(home: string, version: string): Promise<number[]> {
    const directory = daemonDirectory(home, 'main')
    await startDaemon({ directory, name: 'main', command: this.command(version), keeper: this.keeper, signal })
    const pids = await askDaemon(
      directory,
      async (client) => {
        const opened: number[] = []
        for (let count = 0; count < sessionCount; count += 1)
          opened.push((await client.open({ command: ['cat'], env: { HOME: home } })).info.pid)
        return opened
      },
      signal,
    )
    return pids!
  }

  /** Also ends what a run that went wrong has left. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of await processesOf(...this.homes)) killIfThere(pid)
    for (const home of this.homes) await rm(dirname(home), { recursive: true, force: true })
    await this.compiled.remove()
    await rm(this.old, { recursive: true, force: true })
  }
}

/** Everybody who asked has got one answer, and the right one. */
function assertAnswered({ records }: Ended, { script, refuses = [] }: Supervision): void {
  const asked = script.flatMap(({ event }) => (typeof event?.id === 'string' ? [event.id] : []))
  const { answers } = passages.history(records).at(-1)!.run.snapshot.context as SupervisionContext
  expect(answers.flatMap(({ ids }) => ids).sort()).toEqual(asked)
  const failed = answers.flatMap(({ ids, failure }) => (failure === null ? [] : ids))
  expect(failed.sort(), JSON.stringify(answers)).toEqual(refuses)
}

/** Who runs there is who should, with every shell of before; and when that one is stopped, nothing is left. */
async function inspect(home: string, version: string | null, shells: readonly number[]): Promise<void> {
  const directory = daemonDirectory(home, 'main')
  const found = await askDaemon(
    directory,
    async (client) => ({ version: (await client.info()).version, pids: (await client.list()).map(({ pid }) => pid) }),
    signal,
  )
  expect(found).toEqual(version === null ? undefined : { version, pids: shells })
  const own = version === null ? 0 : 2
  await eventually(async () => (await processesOf(home)).length === own + shells.length, 'one daemon and its keeper')
  await askDaemon(directory, (client) => client.stop(), signal)
  await eventually(async () => (await processesOf(home)).length === 0, 'the end of all')
  const entries = await readdir(directory, { recursive: true }).catch(() => [])
  expect(
    entries.filter((path) => /\.sock|^pids\/./.test(path)),
    'what is left behind',
  ).toEqual([])
}

/** Those that were told of a home, as arguments or in their environment; parents first. Linux shows them. */
async function processesOf(...homes: readonly string[]): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const told = await Promise.all(
    pids.map(async (pid) => {
      const texts = ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => ''))
      const words = (await Promise.all(texts)).join('\0')
      return homes.some((home) => words.includes(`${home}\0`) || words.includes(`${home}/`))
    }),
  )
  return pids.filter((_, at) => told[at])
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}
