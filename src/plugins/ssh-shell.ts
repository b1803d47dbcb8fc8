import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeDirectories } from '../disk.ts'
import { InstarError } from '../errors.ts'
import { absent } from '../releases/absent.ts'
import type { Ran } from '../run-command.ts'
import { shellQuoted } from '../shell-quoted.ts'
import { shortDirectory } from '../socket-path.ts'
import type { Address } from './address.ts'
import type { Shell } from './shell.ts'

const run = promisify(execFile)

type SshAddress = Extract<Address, { kind: 'ssh' }>

/** How long a connection that nobody uses stays open, also when the controller was killed. */
const idleSeconds = 20

/** What no configuration of a user's may change: nothing is asked of a terminal, no key is learned, nothing is forwarded. */
const fixed = [
  'BatchMode=yes',
  'StrictHostKeyChecking=yes',
  'UpdateHostKeys=no',
  'CheckHostIP=no',
  'ClearAllForwardings=yes',
  'ForwardAgent=no',
  'ForwardX11=no',
  'PermitLocalCommand=no',
  'RemoteCommand=none',
  'RequestTTY=no',
  'EscapeChar=none',
  'LogLevel=ERROR',
  'ConnectTimeout=20',
  'ServerAliveInterval=10',
  'ServerAliveCountMax=3',
]

/**
 * The same, for an ssh that knows them: before 8.7 it knows none, and refuses what it does not know. `IgnoreUnknown` is no
 * way out, since ours would take the place of the user's.
 */
const fixedWhereKnown = ['SessionType=default', 'StdinNull=no', 'ForkAfterAuthentication=no']

/** What the user's configuration comes to. */
interface Settings {
  readonly options: readonly string[]
  /** There is a connection of theirs to share. */
  readonly shares: boolean
}

/**
 * The system's `ssh`, with the user's own configuration, keys and known hosts. All commands share one connection: the
 * user's, where their configuration has one to share, else one of ours. Others may share ours, as another process of the
 * same home does.
 */
export class SshShell implements Shell {
  private settings: Promise<Settings> | undefined
  /** The socket of our own connection. */
  private socket: string | undefined

  /** @param directory For the socket of the connection. */
  constructor(
    private readonly address: SshAddress,
    private readonly directory: string,
  ) {}

  async command(script: string, args: readonly string[]): Promise<readonly string[]> {
    this.settings ??= this.read()
    this.settings.catch(() => {
      this.settings = undefined // asked for again
    })
    const { options, shares } = await this.settings
    const all = [...fixed, ...options, ...(shares ? [] : await this.ownConnection())].flatMap((one) => ['-o', one])
    // What a login shell is given is one text. Between single quotes it reads nothing but the end of them.
    const text = ['sh', '-c', script, 'instar', ...args].map(shellQuoted).join(' ')
    return ['ssh', '-T', ...all, ...this.destination(), text]
  }

  explain({ code, stderr }: Ran): InstarError {
    const told = `ssh ${this.address.host}: ${stderr === '' ? `it ended with code ${code}` : stderr}`
    if (/host key verification failed|host key for .* has changed|no .*host key is known/i.test(stderr))
      return new InstarError('TARGET_HOST_KEY', told)
    if (/permission denied|too many authentication failures/i.test(stderr))
      return new InstarError('TARGET_DENIED', told)
    return new InstarError('TARGET_UNREACHABLE', told)
  }

  async close(): Promise<void> {
    const { socket } = this
    if (socket === undefined || (await lstat(socket).catch(absent)) === null) return
    // It takes no more commands, and ends with those that another process may have under way on it.
    const words = ['-o', `ControlPath=${literal(socket)}`, '-O', 'stop', ...this.destination()]
    await run('ssh', words, { timeout: 5000 }).catch(() => {}) // it has gone by itself, or will
  }

  private destination(): string[] {
    const { host, user, port } = this.address
    return [...(user === null ? [] : ['-l', user]), ...(port === null ? [] : ['-p', String(port)]), '--', host]
  }

  private async read(): Promise<Settings> {
    const { stdout } = await run('ssh', ['-G', ...this.destination()], { timeout: 10_000 }).catch((cause) => {
      if (cause.code === 'ENOENT')
        throw new InstarError('TARGET_UNREACHABLE', 'there is no program "ssh" here', { cause })
      throw new InstarError('TARGET_UNREACHABLE', `ssh cannot use its configuration: ${cause.stderr ?? ''}`.trim())
    })
    const says = (line: RegExp) => line.test(stdout)
    const known = fixedWhereKnown.filter((one) => says(new RegExp(`^${one.split('=')[0]} `, 'im')))
    if (!says(/^controlpath (?!none$)/m) || says(/^controlmaster (false|no)$/m)) {
      await makeDirectories(this.directory)
      return { options: known, shares: false }
    }
    // One that ends with its first command is shared by nobody, and one that each command begins anew neither.
    const lasting = says(/^controlpersist no$/m) ? [persist] : []
    const joined = says(/^controlmaster (true|yes)$/m) ? ['ControlMaster=auto'] : []
    return { options: [...known, ...joined, ...lasting], shares: true }
  }

  /** Found anew for each command, because a short path may be swept away. */
  private async ownConnection(): Promise<readonly string[]> {
    const { host, user, port } = this.address
    const name = createHash('sha256')
      .update(JSON.stringify([host, user, port]))
      .digest('hex')
      .slice(0, 16)
    // While it binds it, ssh puts a dot and 16 letters behind the name.
    const directory = await shortDirectory(this.directory, `${name}.0123456789abcdef`)
    this.socket = join(directory, name)
    return ['ControlMaster=auto', `ControlPath=${literal(this.socket)}`, persist]
  }
}

const persist = `ControlPersist=${idleSeconds}`

/** A path as ssh reads it: a blank would end it, and a percent sign would begin the name of something else. */
const literal = (path: string) => `"${path.replaceAll('%', '%%')}"`
