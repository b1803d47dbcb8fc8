import { spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { exists } from '../disk.ts'
import { type KillPoint, orderVariable, type Step } from './mortal.ts'

/** What a program is started with, again and again, until it ends by itself. */
export interface Subject {
  /** The program, for Node. It gets the home and then `args` as its arguments. */
  readonly program: string
  readonly args: readonly string[]
  /** A folder of its own, without symlinks; the home is `home` in it. */
  readonly directory: string
  /** A life that takes longer is ended and counts as broken. */
  readonly timeoutMs: number
}

export interface Life {
  /** What it did to the world, in order. */
  readonly steps: readonly Step[]
  /** The last that it did before it was killed; null where it ended otherwise. */
  readonly death: Step | null
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
  readonly durationMs: number
}

/** What ends a life early: a point that it comes to, or the clock; null where nothing does. */
export type Fate = KillPoint | { readonly afterMs: number } | null

/** Runs the program once: to its end, or to where it is killed. */
export async function live(subject: Subject, lastSeq: number, fate: Fate): Promise<Life> {
  const { program, args, directory, timeoutMs } = subject
  const atMoment = fate !== null && 'afterMs' in fate
  const home = join(directory, 'home')
  const trace = join(directory, 'trace')
  await rm(trace, { force: true })
  const order = JSON.stringify({ home, lastSeq, trace, point: atMoment ? null : fate })
  const begunAtMs = performance.now()

  const child = spawn(process.execPath, [program, home, ...args], {
    cwd: directory,
    env: { ...process.env, [orderVariable]: order },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: atMoment ? fate.afterMs : timeoutMs,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once('error', reject).once('close', (code, signal) => resolve([code, signal]))
  })
  const durationMs = performance.now() - begunAtMs
  const steps = await readTrace(trace)
  if (steps === null && !atMoment)
    throw new Error(`the program did not come to its first statement, \`mortal()\`: ${stderr}`)
  const killed = signal === 'SIGKILL' && (atMoment || steps?.at(-1)?.died !== undefined)
  const death = killed ? (steps?.at(-1) ?? unborn(lastSeq)) : null
  return { steps: steps ?? [], death, code, signal, stdout, stderr, durationMs }
}

/** Killed before it did anything. */
const unborn = (after: number): Step => ({ after, step: 1, what: 'nothing yet', hows: [] })

async function readTrace(path: string): Promise<Step[] | null> {
  if (!(await exists(path))) return null
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line) as Step)
}
