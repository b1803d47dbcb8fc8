import { type StartedChild, startChild } from './child.ts'
import { entryPath } from './entry.ts'
import { qualifyingVariable } from './environment.ts'
import { fill } from './fill.ts'
import { freePort } from './ports.ts'
import type { Probe } from './probe.ts'

/** What of a runtime's configuration it takes to start it. */
export interface RuntimeProgram {
  /** Path of the file to run, inside the release. */
  readonly entry: string
  /** Absolute path of the Node that runs it. */
  readonly node: string
  /** `${port}`, `${home}` and `${release}` are filled in, here and in `env`. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly probe: Probe
}

export interface RuntimeStart extends RuntimeProgram {
  /** Absolute path of the tree. */
  readonly release: string
  readonly home: string
  readonly key: string
  readonly recordDirectory: string
  /** A port of the host's choice; a free one where absent. */
  readonly port?: number
  /** Where it is run; the release where absent. */
  readonly cwd?: string
  /** A trial: the runtime is told so by INSTAR_QUALIFYING=1. */
  readonly qualifying?: boolean
  readonly signal?: AbortSignal
}

/**
 * Starts a release, or finds the start that was made under this key; then the port is the one it was told then.
 *
 * @throws {InstarError} `ENTRY_MISSING`, `CONFIG_INVALID` for an unknown placeholder, and what `startChild` throws.
 */
export async function startRuntime(start: RuntimeStart): Promise<StartedChild> {
  const { release, home, node, key, recordDirectory, signal } = start
  const entry = await entryPath(release, start.entry)
  const port = start.port ?? (await freePort())
  const values = { port, home, release }
  const env = Object.entries(start.env).map(([name, value]) => [name, fill(value, values)] as const)
  return startChild({
    key,
    recordDirectory,
    executable: node,
    args: [entry, ...start.args.map((arg) => fill(arg, values))],
    cwd: start.cwd ?? release,
    env: {
      // An Electron host runs releases by its own executable, which is a browser unless told otherwise.
      ...(process.versions.electron !== undefined && node === process.execPath && { ELECTRON_RUN_AS_NODE: '1' }),
      ...Object.fromEntries(env),
      ...(start.qualifying && { [qualifyingVariable]: '1' }),
    },
    port,
    ...(start.probe.ipc !== undefined && { ipc: start.probe.ipc }),
    ...(signal && { signal }),
  })
}
