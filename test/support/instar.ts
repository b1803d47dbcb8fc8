import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { cli } from './host.ts'

export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  /** What it has said so far. */
  readonly said: { stdout: string; stderr: string }
  /** Resolves once `text` was said on stdout. */
  says(text: string): Promise<void>
}

interface Options {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
}

/** A directory that is gone after the test. */
export async function temporary(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'instar-cli-')))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Starts the built command line; what still runs after the test is killed. */
export function start(args: readonly string[], { cwd, env }: Options = {}): Started {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said.stderr += text
  })
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...said }))
  const says = async (text: string) => {
    while (!said.stdout.includes(text)) {
      const chunk = await Promise.race([once(child.stdout, 'data'), ended])
      if (!Array.isArray(chunk) && !said.stdout.includes(text))
        throw new Error(`it ended without saying "${text}": ${JSON.stringify(chunk)}`)
    }
  }
  return { child, ended, said, says }
}

/** Runs the built command line to its end. */
export function run(args: readonly string[], options?: Options): Promise<Ended> {
  return start(args, options).ended
}

/** The lines of NDJSON output. */
export function linesOf(text: string): any[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}
