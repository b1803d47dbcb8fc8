import { execFile } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { promisify } from 'node:util'

/** A port on loopback that nobody listens on now. Nothing keeps it free; who starts on it may still find it taken. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Who listens on a port: one of the processes that were asked about, somebody else, nobody; or the system won't say. */
export type Holder = 'ours' | 'foreign' | 'nobody' | 'unknown'

/**
 * Finds out whether the listener on `port` is among `pids`.
 *
 * @param address The loopback address that was connected to, where there are listeners on several; any where absent.
 */
export async function portHolder(port: number, pids: ReadonlySet<number>, address?: string): Promise<Holder> {
  if (process.platform === 'linux') return holderByInode(port, pids, address)
  const listeners = await listenerPids(port)
  if (listeners === undefined) return 'unknown'
  if (listeners.length === 0) return 'nobody'
  return listeners.every((pid) => pids.has(pid)) ? 'ours' : 'foreign'
}

async function holderByInode(port: number, pids: ReadonlySet<number>, address?: string): Promise<Holder> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'latin1').catch(() => '')), // no IPv6 here
  )
  const listeners = listenersIn(tables.join('\n'), port)
  const inodes = mostSpecific(listeners, address).map(({ inode }) => inode)
  if (inodes.length === 0) return 'nobody'

  const held = new Set<string>()
  let unreadable = false
  for (const pid of pids) {
    const links = await socketsOf(pid)
    if (links === undefined) unreadable = true
    else for (const link of links) held.add(link)
  }
  if (inodes.every((inode) => held.has(`socket:[${inode}]`))) return 'ours'
  return unreadable ? 'unknown' : 'foreign'
}

interface Listener {
  /** As the kernel prints it. */
  readonly address: string
  readonly inode: string
}

/**
 * The sockets that listen on `port`.
 *
 * @see proc_net_tcp in the kernel's documentation: hexadecimal, addresses as host-endian words; state 0A is LISTEN.
 */
export function listenersIn(table: string, port: number): Listener[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return table.split('\n').flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
    if (state !== '0A' || inode === undefined || !local!.endsWith(suffix)) return []
    return [{ address: local!.slice(0, -suffix.length), inode }]
  })
}

const any4 = '00000000'
const any6 = '0'.repeat(32)
const loopback4 = '0100007F'
const loopback6 = `${'0'.repeat(24)}01000000`
const mapped = (word: string) => `${'0'.repeat(16)}FFFF0000${word}`

// Whom the kernel hands a connection to: the closest match alone.
const preference: Record<string, readonly (readonly string[])[]> = {
  '127.0.0.1': [[loopback4, mapped(loopback4)], [any4, mapped(any4)], [any6]],
  '::1': [[loopback6], [any6]],
}

function mostSpecific(listeners: readonly Listener[], address: string | undefined): readonly Listener[] {
  const order = address === undefined ? undefined : preference[address]
  if (order === undefined) return listeners
  const groups = order.map((addresses) => listeners.filter((listener) => addresses.includes(listener.address)))
  return groups.find((group) => group.length > 0) ?? []
}

/** What a process's descriptors point to; undefined where we may not look, empty where it has ended. */
async function socketsOf(pid: number): Promise<string[] | undefined> {
  const folder = `/proc/${pid}/fd`
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? undefined : []
  }
  return Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => ''))) // closed while we looked
}

const run = promisify(execFile)

async function listenerPids(port: number): Promise<number[] | undefined> {
  try {
    if (process.platform === 'win32') return parseNetstat((await run('netstat', ['-ano', '-p', 'TCP'])).stdout, port)
    return parseLsof((await run('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-t'])).stdout)
  } catch {
    // lsof ends with 1 and prints nothing when it found nothing, also for sockets that it was not allowed to see.
    return undefined
  }
}

/** What `lsof -t` prints: one pid a line. */
export function parseLsof(text: string): number[] {
  return text
    .split('\n')
    .filter((line) => /^\d+$/.test(line))
    .map(Number)
}

/** The listeners in what `netstat -ano` prints. The word for LISTENING is translated, the foreign port 0 is not. */
export function parseNetstat(text: string, port: number): number[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*TCP\s+\S+:(\d+)\s+\S+:0\s+\S+\s+(\d+)\s*$/.exec(line)
    return match !== null && Number(match[1]) === port ? [Number(match[2])] : []
  })
}
