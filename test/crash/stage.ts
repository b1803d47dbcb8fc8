import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { openHome } from '../../src/home.ts'
import { verifyJournal } from '../../src/journal/index.ts'
import type { ReleaseRef } from '../../src/releases/layout.ts'
import { readPointer } from '../../src/releases/pointer.ts'
import { ReleaseStore } from '../../src/releases/store.ts'
import type { Ended, KillMatrixReport } from '../../src/testing/kill-matrix.ts'
import { startRegistry, type TestRegistry } from '../../src/testing/registry.ts'
import { type Compiled, compileInParts } from '../support/compiled.ts'
import type { Plan } from './plan.ts'

/** Ready, and then something once the machine has been in a state: no time that a busy machine could miss. */
const until = (state: string, then: string) =>
  `echo ready; until [ -e "$TOOL_HOME/../in-${state}" ]; do sleep 0.02; done; ${then}`

/**
 * Runtimes as shell scripts, because hundreds of them are started and Node takes a while. Each finds its scenario's own
 * home in TOOL_HOME, and beside it which states the machine has been in (`program.ts`).
 */
export const scripts = {
  good: 'echo ready; exec sleep 60',
  /** Dies before it is ready. */
  broken: 'echo "cannot find module" >&2; exit 3',
  /** Never ready. */
  mute: 'exec sleep 60',
  /** Ready, then gone in good order within its probation. */
  brief: until('probation', 'exit 0'),
  /** Ready, then gone in good order once it is healthy. */
  leaving: until('healthy', 'exit 0'),
  /** Ready, and dead within its probation. */
  dying: until('probation', 'exit 4'),
  /** The first start dies once it is healthy. */
  mortalOnce: `if mkdir "$TOOL_HOME/../died" 2>/dev/null; then ${until('healthy', 'exit 5')}; fi; echo ready; exec sleep 60`,
} as const

/** Probation in the wall's time. */
const probationMs = 800
const pace = 40

const probationOf = ({ isProbationEndless }: Setting) => (isProbationEndless ? 86_400_000 : probationMs * pace)

export interface Setting {
  /** What the home has as its current release, if anything: a version, and the script it is. */
  readonly current?: readonly [version: string, script: string]
  /** Null where none came with the host. */
  readonly bundled?: null
  /** More of the runtime's configuration. */
  readonly runtime?: object
  readonly policy?: object
  /** No clock ends the probation: what is to happen within it may take as long as it takes. */
  readonly isProbationEndless?: true
}

/** What all scenarios share: a registry, the program compiled, an executable that is Node to all who ask. */
export class Stage implements AsyncDisposable {
  private constructor(
    private readonly directory: string,
    readonly registry: TestRegistry,
    private readonly compiled: Compiled,
  ) {}

  static async build(): Promise<Stage> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-stage-')))
    const [registry, compiled] = await Promise.all([startRegistry(), compileInParts('test/crash/program.ts')])
    const stage = new Stage(directory, registry, compiled)
    await mkdir(join(directory, 'bundled'))
    await writeFile(join(directory, 'bundled', 'main.sh'), scripts.good)
    await writeFile(stage.node, standInForNode)
    await chmod(stage.node, 0o755)
    return stage
  }

  get program(): string {
    return this.compiled.file('test/crash/program.ts')
  }

  private get node(): string {
    return join(this.directory, 'node')
  }

  /** Publishes `version` of a package of its own, so that scenarios do not meet. */
  publish(name: string, version: string, script: string | null, options: object = {}): void {
    const files = { 'lib/a.txt': 'a', 'lib/b.txt': 'b', ...(script !== null && { 'main.sh': script }) }
    this.registry.publish(name, version, files, options)
  }

  /** Of what is published. */
  async integrity(name: string, version: string): Promise<string | undefined> {
    const answer = await fetch(new URL(name, this.registry.url))
    const { versions } = (await answer.json()) as { versions: Record<string, { dist: { integrity: string } }> }
    return versions[version]?.dist.integrity
  }

  config(packageName: string, setting: Setting): object {
    const { bundled, runtime, policy } = setting
    return {
      registry: this.registry.url,
      runtimes: {
        tool: {
          package: packageName,
          entry: 'main.sh',
          node: this.node,
          ...(bundled === undefined && { bundled: { path: join(this.directory, 'bundled'), version: '1.0.0' } }),
          env: { TOOL_HOME: '${home}' },
          probe: { line: 'ready', timeoutMs: 20_000 },
          probationMs: probationOf(setting),
          policy: { signatures: 'off', ...policy },
          ...runtime,
        },
      },
    }
  }

  plan(machine: string, packageName: string, setting: Setting, more: Partial<Plan> = {}): Plan {
    const input =
      machine === 'runtime-launch'
        ? { runtime: 'tool', args: [], probationMs: probationOf(setting) }
        : { runtime: 'tool', policy: { engines: 'enforce', minimumReleaseAgeMs: 0, allowOlder: false } }
    const config = this.config(packageName, setting)
    return { machine, input, config, since: Date.now(), pace, rules: [], sends: [], ...more }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry[Symbol.asyncDispose]()
    await this.compiled.remove()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** Says that it is Node where it is asked, and runs what it is given with the shell. */
const standInForNode = `#!/bin/sh
if [ "$1" = -e ]; then
  echo '${JSON.stringify({ version: process.versions.node, platform: process.platform, arch: process.arch, modules: process.versions.modules, musl: false, electron: false })}'
else
  exec /bin/sh "$@"
fi
`

/** Puts a release into a home and points at it, as an earlier check would have. */
export async function install(
  home: string,
  [version, script]: readonly [string, string],
  { integrity = `sha512-${version}`, bans = [] }: { integrity?: string | undefined; bans?: readonly string[] } = {},
): Promise<ReleaseRef> {
  await openHome(home)
  await using store = await ReleaseStore.open({ home, kind: 'runtime' })
  const draft = await store.draft('tool', `install ${version}`)
  await writeFile(join(draft.content, 'main.sh'), script)
  const release = await draft.seal({ version, integrity, source: 'a test' })
  await store.activate('tool', release)
  for (const banned of bans) await store.ban('tool', banned, 'a test')
  return release
}

/** What lies in a home that nobody works on. */
export interface Found {
  readonly current: string | null
  readonly knownGood: string | null
  readonly releases: readonly string[]
  readonly bans: readonly string[]
}

/**
 * What must hold of every home once its run has ended: the journal is sound, nothing runs, the next controller opens it
 * and finds nothing to do, and after that nothing is left that is not wanted.
 */
export async function inspect({ home, records }: Pick<Ended, 'home' | 'records'>, config: object): Promise<Found> {
  const report = await verifyJournal(join(home, 'journal'))
  expect(report.problems, 'the journal').toEqual([])
  expect(await processesOf(home), 'processes that are left').toEqual([])
  {
    await using controller = await openController({ home, config: parseConfig(config, '/'), schedule: false })
    expect(controller.state().runs, 'runs under way').toEqual([])
  }

  const listed = (await readdir(home, { recursive: true })).filter((path) => !/^(journal|releases.*content)/.test(path))
  const litter = listed.filter((path) => /\.(draft|staging|trash|torn)-|^processes\/./.test(path))
  expect(litter, 'what is left behind').toEqual([])

  await using store = await ReleaseStore.open({ home, kind: 'runtime' })
  const releases = await store.list('tool')
  for (const release of releases)
    expect(await store.verify(release, { full: true }), release.version).toMatchObject({ whole: true })
  const folders = (await readdir(join(home, 'releases', 'runtime', 'tool')).catch(() => [])).sort()
  expect(folders, 'folders of releases').toEqual(
    releases.map(({ path }) => path.slice(path.lastIndexOf('/') + 1)).sort(),
  )

  const { current, knownGood, problem } = await readPointer(home, 'runtime', 'tool')
  expect(problem).toBeUndefined()
  const state = await store.state('tool')
  const asked = new Set(records.map(({ answers }) => answers))
  for (const { keys } of Object.values(state.strikes)) {
    expect(new Set(keys).size, 'each failure is counted once').toBe(keys.length)
    expect(
      keys.filter((key) => !asked.has(key)),
      'every strike stands in the journal',
    ).toEqual([])
  }
  return {
    current: current?.version ?? null,
    knownGood: knownGood?.version ?? null,
    releases: releases.map(({ version }) => version),
    bans: Object.keys(state.bans),
  }
}

/** Those that carry the home in their environment, as every runtime of these tests does. Linux shows them. They are ended. */
async function processesOf(home: string): Promise<number[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number)
  const found: number[] = []
  for (const pid of pids) {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
    if (!environment.split('\0').includes(`TOOL_HOME=${home}`)) continue
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
    if (stat === '' || /\) [ZX] /.test(stat)) continue
    found.push(pid)
    process.kill(pid, 'SIGKILL')
  }
  return found
}

/** Says what a matrix came to. */
export function tell({ machine, transitions, kills, lives }: KillMatrixReport): void {
  console.log(`${machine}: ${kills} kills at ${Object.keys(transitions).length} transitions, in ${lives} lives`)
}
