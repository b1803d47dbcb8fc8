import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { eventually } from './sessions/eventually.ts'
import { systemProgram } from './system-program.ts'

const run = promisify(execFile)

/** Each command that a connection runs has this in its environment: one that outlives its connection is found by it. */
const mark = 'INSTAR_TEST_SSHD'

export interface SshdOptions {
  /** Whether the client knows the host key from the start, as it does unless told otherwise. */
  readonly isTrusted?: boolean
}

/**
 * Starts OpenSSH's own server on a free port of loopback, with keys made for it. Whoever runs the test can log in, with
 * their own shell and home. Linux.
 *
 * @param directory All its files come into the folder `sshd` in here, which must not exist yet.
 */
export async function startSshd(directory: string, { isTrusted = true }: SshdOptions = {}): Promise<Sshd> {
  const server = await systemProgram('sshd', 'openssh-server', { hasService: true })
  const client = await systemProgram('ssh', 'openssh-client')
  const setpriv = await systemProgram('setpriv', 'util-linux')
  const folder = join(directory, 'sshd')
  await mkdir(directory, { recursive: true })
  await mkdir(folder, { mode: 0o700 })
  await Promise.all([
    makeKey(join(folder, 'host-key')),
    makeKey(join(folder, 'user-key')),
    writeFile(join(folder, 'known_hosts'), ''),
    // The unprivileged part of the server is shut up in here. The system makes it anew at each boot, with the service.
    process.getuid?.() === 0 && mkdir('/run/sshd', { recursive: true }),
  ])

  const id = randomUUID()
  const config = join(folder, 'sshd_config')
  await writeFile(config, serverConfig(folder, id))
  const more = await penaltyOptions(server, config)
  for (let attempt = 1; ; attempt += 1) {
    // The port is free now, and somebody else may still be faster.
    const port = await freePort()
    const command = [server, '-D', '-e', '-f', config, '-p', String(port), ...more]
    // A test that is killed disposes nothing, and its server would go on to let people in.
    const child = await listening(setpriv, ['--pdeathsig', 'KILL', ...command], port, folder)
    if (child === null && attempt < 5) continue
    if (child === null) throw new Error('no port of loopback stays free for sshd')
    const hostKey = await readFile(join(folder, 'host-key.pub'), 'utf8')
    const sshd = new Sshd(folder, child, port, hostKey.split(' ').slice(0, 2).join(' '), id)
    await writeFile(sshd.config, clientConfig(folder, sshd))
    await mkdir(sshd.bin)
    await writeFile(join(sshd.bin, 'ssh'), `#!/bin/sh\nexec ${quoted(client)} -F ${quoted(sshd.config)} "$@"\n`, {
      mode: 0o755,
    })
    if (isTrusted) await sshd.trust()
    return sshd
  }
}

/** A running server. Disposing it ends it, each connection, and each command that came through one. */
export class Sshd implements AsyncDisposable {
  readonly address = '127.0.0.1'
  readonly user = userInfo().username
  /** A name for this server, with its port and user, which only `config` knows. */
  readonly alias = 'instar-test-target'
  private stopping: Promise<void> | null = null

  /** @param hostKey Its type and itself, as in `known_hosts`. */
  constructor(
    private readonly folder: string,
    private readonly child: ChildProcess,
    readonly port: number,
    readonly hostKey: string,
    private readonly id: string,
  ) {}

  get pid(): number {
    return this.child.pid!
  }

  /** What the client reads instead of the user's and the system's configuration. */
  get config(): string {
    return join(this.folder, 'ssh_config')
  }

  /** A folder with an `ssh` that reads `config`; comes first on the PATH of what is tested. */
  get bin(): string {
    return join(this.folder, 'bin')
  }

  async trust(): Promise<void> {
    await writeFile(join(this.folder, 'known_hosts'), `[${this.address}]:${this.port} ${this.hostKey}\n`)
  }

  async knownHosts(): Promise<string> {
    return readFile(join(this.folder, 'known_hosts'), 'utf8')
  }

  /** What the server said so far. */
  async log(): Promise<string> {
    return readFile(join(this.folder, 'log'), 'utf8')
  }

  /** How many connections have logged in so far. */
  async connections(): Promise<number> {
    return (await this.log()).split('Accepted publickey').length - 1
  }

  /** How many commands and shells have been started so far, over all connections. */
  async sessions(): Promise<number> {
    return (await this.log()).split('Starting session: ').length - 1
  }

  /** Kills the server's side of each connection that is open now. As on a real host, what they run is not killed. */
  async cutConnections(): Promise<void> {
    const cut = (await this.descendants()).filter(isServer).map(({ pid }) => pid)
    for (const pid of cut) kill(pid)
    const remain = async () => (await processes()).some(({ pid }) => cut.includes(pid))
    await eventually(async () => !(await remain()), 'the end of the connections')
  }

  /** Kills all that has been started over a connection, the shell and what it runs, and leaves the connections. */
  async killCommands(): Promise<void> {
    await killUntilNoneIsLeft(() => this.commands())
  }

  /** Processes of this server, but for itself: those of its connections, and commands. */
  async remaining(): Promise<number[]> {
    return [...new Set([...(await this.descendants()), ...(await this.commands())].map(({ pid }) => pid))]
  }

  stop(): Promise<void> {
    this.stopping ??= this.end()
    return this.stopping
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  private async end(): Promise<void> {
    const isOver = () => this.child.exitCode !== null || this.child.signalCode !== null
    // A server that is asked to end leaves its connections, which nobody could find by their parent after that. So it
    // stands still, and takes no new ones, until they are gone.
    this.child.kill('SIGSTOP')
    await killUntilNoneIsLeft(async () => [...(await this.descendants()), ...(await this.commands())])
    this.child.kill('SIGTERM')
    this.child.kill('SIGCONT')
    await eventually(isOver, 'the end of sshd').catch(async () => {
      this.child.kill('SIGKILL')
      await eventually(isOver, 'the end of a killed sshd')
    })
  }

  private async descendants(): Promise<Process[]> {
    const all = await processes()
    const found: Process[] = []
    const look = (parent: number) => {
      for (const child of all.filter((one) => one.parent === parent)) {
        found.push(child)
        look(child.pid)
      }
    }
    look(this.pid)
    return found
  }

  private async commands(): Promise<Process[]> {
    const below = (await this.descendants()).filter((one) => !isServer(one))
    const marked = await Promise.all(
      (await processes()).map(async (one) => ((await isMarked(one.pid, this.id)) ? [one] : [])),
    )
    return [...below, ...marked.flat()]
  }
}

function serverConfig(folder: string, id: string): string {
  return [
    'ListenAddress 127.0.0.1',
    `HostKey "${join(folder, 'host-key')}"`,
    `AuthorizedKeysFile "${join(folder, 'user-key.pub')}"`,
    'AuthenticationMethods publickey',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    // Folders of tests lie below one that everybody may write to.
    'StrictModes no',
    'PidFile none',
    'MaxStartups 100',
    'PrintMotd no',
    'PrintLastLog no',
    'PermitUserRC no',
    // A home of its own, or a login shell spends its time on what whoever runs the test has in theirs.
    `SetEnv ${mark}=${id} "HOME=${folder}"`,
    'LogLevel VERBOSE',
    '',
  ].join('\n')
}

/** Newer servers turn away for a while whose connections break, which is what tests do. Older ones refuse the word. */
async function penaltyOptions(server: string, config: string): Promise<string[]> {
  const option = ['-o', 'PerSourcePenalties=no']
  return run(server, ['-t', '-f', config, ...option]).then(
    () => option,
    () => [],
  )
}

function clientConfig(folder: string, { address, alias, port, user }: Sshd): string {
  return [
    `Host ${alias}`,
    `  HostName ${address}`,
    `  Port ${port}`,
    `  User ${user}`,
    'Host *',
    `  IdentityFile "${join(folder, 'user-key')}"`,
    '  IdentitiesOnly yes',
    '  IdentityAgent none',
    `  UserKnownHostsFile "${join(folder, 'known_hosts')}"`,
    '  GlobalKnownHostsFile /dev/null',
    '',
  ].join('\n')
}

async function makeKey(path: string): Promise<void> {
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path])
}

/** The server once it takes connections; null when another process has taken its port. */
async function listening(program: string, args: string[], port: number, folder: string): Promise<ChildProcess | null> {
  const log = await open(join(folder, 'log'), 'w')
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', log.fd] })
  try {
    await once(child, 'spawn')
  } finally {
    await log.close()
  }
  for (;;) {
    const isOver = child.exitCode !== null || child.signalCode !== null
    const said = await readFile(join(folder, 'log'), 'utf8')
    if (said.includes(`Server listening on 127.0.0.1 port ${port}.`)) return child
    if (isOver && said.includes('Address already in use')) return null
    if (isOver) throw new Error(`sshd ended at once: ${said}`)
    await sleep(5)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port of loopback is free')
  return address.port
}

interface Process {
  readonly pid: number
  readonly name: string
  readonly parent: number
}

/** All processes that have not ended. One that has ended and that nobody has asked after is none of them. */
async function processes(): Promise<Process[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')))
  return found.flatMap((stat) => {
    // proc_pid_stat(5): the name is in parentheses, and may hold any character.
    const [, pid, name, state, parent] = /^(\d+) \((.*)\) (\S) (\d+) /s.exec(stat) ?? []
    if (pid === undefined || name === undefined || state === 'Z' || state === 'X') return []
    return [{ pid: Number(pid), name, parent: Number(parent) }]
  })
}

/** The server's own processes: `sshd`, and with newer ones `sshd-session` and `sshd-auth`. */
function isServer({ name }: Process): boolean {
  return name.startsWith('sshd')
}

async function isMarked(pid: number, id: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  return environment.split('\0').includes(`${mark}=${id}`)
}

async function killUntilNoneIsLeft(find: () => Promise<Process[]>): Promise<void> {
  await eventually(async () => {
    const found = await find()
    for (const { pid } of found) kill(pid)
    return found.length === 0
  }, 'the end of all processes')
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    // It has ended by itself.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}
