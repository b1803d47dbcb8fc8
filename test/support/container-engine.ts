import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

export type ContainerEngine = 'docker' | 'podman'

/** The container engine that answers on this machine within 5 s. A client alone is none. */
export async function containerEngine(): Promise<ContainerEngine | null> {
  for (const engine of ['docker', 'podman'] as const) if (await answers(engine)) return engine
  return null
}

async function answers(engine: ContainerEngine): Promise<boolean> {
  // The name of the system comes from the engine, whichever of the two it is: some clients end well without one.
  const format = engine === 'docker' ? '{{.ServerVersion}}' : '{{.Host.Kernel}}'
  return run(engine, ['info', '--format', format], { timeout: 5_000, killSignal: 'SIGKILL' }).then(
    ({ stdout }) => stdout.trim() !== '',
    () => false,
  )
}
