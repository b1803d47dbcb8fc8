import { randomUUID } from 'node:crypto'
import { readdir, readFile, readlink } from 'node:fs/promises'

/** A process as `/proc` shows it. */
export interface SeenProcess {
  readonly pid: number
  readonly parent: number
  readonly command: string
}

const markName = 'TRIAL_OF'

/**
 * Finds processes by a mark in the environment that they were started with, which all their descendants inherit. So it
 * also finds those that have been detached, adopted by another parent, or forgotten by everybody. Linux.
 */
export class MarkedProcesses {
  private readonly id = randomUUID()
  /** When each that was ever seen began: one that is ending has no environment any more, and still holds its locks. */
  private readonly began = new Map<number, string>()

  get environment(): Record<string, string> {
    return { [markName]: this.id }
  }

  async all(): Promise<SeenProcess[]> {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
    const seen = await Promise.all(pids.map((pid) => this.look(pid)))
    return seen.filter((process) => process !== null)
  }

  /** Children that ended and that their parent has not waited for. */
  async zombies(): Promise<SeenProcess[]> {
    const parents = new Set((await this.all()).map(({ pid }) => pid))
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
    const dead = await Promise.all(
      pids.map(async (pid) => {
        const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return state === 'Z' && parents.has(Number(parent)) ? { pid, parent: Number(parent), command: stat } : null
      }),
    )
    return dead.filter((process) => process !== null)
  }

  private async look(pid: number): Promise<SeenProcess | null> {
    try {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1')
      const stat = await readFile(`/proc/${pid}/stat`, 'latin1')
      const command = await readFile(`/proc/${pid}/cmdline`, 'latin1')
      // proc(5): the name before them may hold anything; 22 fields in all up to the time of its start.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      const began = fields[19]!
      if (environment.split('\0').includes(`${markName}=${this.id}`)) this.began.set(pid, began)
      if (this.began.get(pid) !== began || ['Z', 'X'].includes(fields[0]!)) return null
      return { pid, parent: Number(fields[1]), command: command.replaceAll('\0', ' ').trim() }
    } catch {
      return null // ended meanwhile, or of another user
    }
  }
}

/** Whether all threads of a process have ended: as long as one has not, what the process had open is open. */
export async function hasEnded(pid: number): Promise<boolean> {
  const folder = `/proc/${pid}/task`
  const threads = await readdir(folder).catch(() => [])
  const stats = await Promise.all(threads.map((id) => readFile(`${folder}/${id}/stat`, 'latin1').catch(() => ') X')))
  return stats.every((stat) => ['Z', 'X'].includes(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0]!))
}

/** What the open descriptors of a process point at. */
export async function descriptorsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  const links = await Promise.all((await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => null)))
  return links.filter((link) => link !== null)
}

/** How many PTY masters a process holds. */
export async function mastersOf(pid: number): Promise<number> {
  return (await descriptorsOf(pid)).filter((path) => path.endsWith('/ptmx')).length
}

/** Of each PTY master that a process holds, whether no program that it starts gets it. */
export async function mastersClosedOnExec(pid: number): Promise<boolean[]> {
  const fds = await readdir(`/proc/${pid}/fd`)
  const found = await Promise.all(
    fds.map(async (fd) => {
      const link = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
      if (!link.endsWith('/ptmx')) return []
      const [, flags = ''] = /^flags:\t([0-7]+)$/m.exec(await readFile(`/proc/${pid}/fdinfo/${fd}`, 'latin1')) ?? []
      return [(Number.parseInt(flags, 8) & 0o2_000_000) !== 0]
    }),
  )
  return found.flat()
}

/** Bytes of memory of its own, as the kernel accounts them. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) * 1024
}
