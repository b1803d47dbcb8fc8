import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface ProcessEntry {
  readonly pid: number
  readonly parent: number
  /** The process group; 0 on Windows, which has none. */
  readonly group: number
  /** When it began: clock ticks since boot on Linux, milliseconds since 1970 elsewhere. Tells a reused pid apart. */
  readonly start: number
}

export type ProcessTable = ReadonlyMap<number, ProcessEntry>

let looking: Promise<ProcessTable> | null = null
let next: Promise<ProcessTable> | null = null

/**
 * Every living process, looked at after this was asked. A zombie is not one: it has ended and merely waits for a parent to
 * ask.
 *
 * Who asks while somebody's look is under way shares the next one: hundreds of children that end together must not open
 * the files of all processes hundreds of times at once.
 */
export function processTable(platform: NodeJS.Platform = process.platform): Promise<ProcessTable> {
  if (platform !== process.platform) return readTable(platform)
  if (next !== null) return next
  if (looking === null) return look()
  next = looking
    .catch(() => {}) // told to those who asked then
    .then(() => {
      next = null
      return look()
    })
  return next
}

function look(): Promise<ProcessTable> {
  const own = readTable(process.platform).finally(() => {
    if (looking === own) looking = null
  })
  looking = own
  return own
}

async function readTable(platform: NodeJS.Platform): Promise<ProcessTable> {
  const entries = platform === 'linux' ? await readProc() : await askSystem(platform)
  return new Map(entries.map((entry) => [entry.pid, entry]))
}

/** One living process, or undefined where there is none. */
export async function processEntry(
  pid: number,
  platform: NodeJS.Platform = process.platform,
): Promise<ProcessEntry | undefined> {
  if (platform === 'linux') return readStat(pid)
  if (!exists(pid)) return undefined // asking the whole system costs a process; most answers are had without
  return (await readTable(platform)).get(pid)
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Others have their turn after so many. */
const readAtOnce = 100

async function readProc(): Promise<ProcessEntry[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const entries: ProcessEntry[] = []
  for (const [at, pid] of pids.entries()) {
    if (at > 0 && at % readAtOnce === 0) await setImmediate()
    const entry = readStat(pid)
    if (entry !== undefined) entries.push(entry)
  }
  return entries
}

/** On the spot: the kernel writes this line when it is read, which is over sooner than a thread hears of it. */
function readStat(pid: number): ProcessEntry | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch (error) {
    // Anything else, such as too many open files, says nothing about the process.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ESRCH') throw error
    return undefined
  }
}

/**
 * One line of `/proc/PID/stat`, or undefined for a process that has ended.
 *
 * @see proc(5): the second field is a name in parentheses that may itself hold blanks and parentheses.
 */
export function parseStat(text: string): ProcessEntry | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, parent, group] = fields
  const start = fields[19]
  if (start === undefined || state === 'Z' || state === 'X') return undefined
  return { pid: Number.parseInt(text, 10), parent: Number(parent), group: Number(group), start: Number(start) }
}

async function askSystem(platform: NodeJS.Platform): Promise<ProcessEntry[]> {
  if (platform === 'win32') return parseCim((await run('powershell.exe', cimQuery, { windowsHide: true })).stdout)
  // UTC, because local time has an hour that comes twice; C, because month names are translated.
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' }
  return parsePs((await run('ps', ['-axo', 'pid=,ppid=,pgid=,stat=,lstart='], { env, maxBuffer: 16_777_216 })).stdout)
}

/** What `ps -axo pid=,ppid=,pgid=,stat=,lstart=` prints under TZ=UTC. */
export function parsePs(text: string): ProcessEntry[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S.*?)\s*$/.exec(line)
    if (match === null || match[4]!.startsWith('Z')) return []
    const [, pid, parent, group, , begun] = match
    return [{ pid: Number(pid), parent: Number(parent), group: Number(group), start: Date.parse(`${begun} UTC`) }]
  })
}

const cimQuery = [
  '-NoProfile',
  '-NonInteractive',
  '-Command',
  'Get-CimInstance Win32_Process | ForEach-Object { "$($_.ProcessId) $($_.ParentProcessId) ' +
    '$(([DateTimeOffset]$_.CreationDate).ToUnixTimeMilliseconds())" }',
]

/** What `cimQuery` prints. System processes without a date are left out; none of them is ours. */
export function parseCim(text: string): ProcessEntry[] {
  return text.split('\n').flatMap((line) => {
    const match = /^(\d+) (\d+) (\d+)\s*$/.exec(line)
    return match === null
      ? []
      : [{ pid: Number(match[1]), parent: Number(match[2]), group: 0, start: Number(match[3]) }]
  })
}

/** Whether nobody is left in a process group, which is asked without a look at all processes. Where there are none, false. */
export function isGroupGone(group: number): boolean {
  if (process.platform === 'win32') return false
  try {
    process.kill(-group, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** Names this run of the system, so that pids from before a restart are not taken for living ones. */
export function bootId(): Promise<string> {
  boot ??= process.platform === 'linux' ? readFile('/proc/sys/kernel/random/boot_id', 'latin1') : Promise.resolve('')
  return boot.then((text) => text.trim())
}

let boot: Promise<string> | undefined

/**
 * Whether a process was started with `setting` (`NAME=value`) in its environment; false where the system does not tell.
 * Descendants inherit it, so it marks a family even after its parents are gone.
 */
export async function environmentHolds(pid: number, setting: string): Promise<boolean> {
  if (process.platform === 'linux') {
    const text = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '') // ended, or another user's
    return text.split('\0').includes(setting)
  }
  if (process.platform === 'darwin') {
    const { stdout } = await run('ps', ['-Eww', '-o', 'command=', '-p', String(pid)]).catch(() => ({ stdout: '' }))
    return stdout.split(/\s+/).includes(setting)
  }
  return false
}
