import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { eventually } from './sessions/eventually.ts'
import { systemProgram } from './system-program.ts'

const run = promisify(execFile)

const devices = ['null', 'zero', 'full', 'random', 'urandom']

/**
 * What the first process inside runs: it makes the root its whole world, says which process it is from outside, and
 * goes on until its input ends, which is when the test disposes it or is gone.
 *
 * All mounts are in its own namespace; outside nothing is mounted, and nothing to unmount. `cat` is not the shell's last
 * command, because as the first process the shell has to stay and ask after those that lose their parent.
 */
const firstProcess = `
set -e
root=$1
busybox() { "$root/bin/busybox" "$@"; }
read -r pid rest < /proc/self/stat
busybox mount --bind "$root" "$root"
cd "$root"
busybox mount -t proc proc proc
for device in ${devices.join(' ')}; do busybox mount --bind /dev/$device dev/$device; done
busybox pivot_root . .
# Both roots lie on each other now; the one on top is the old one.
/bin/busybox umount -l .
cd /
echo "$pid"
/bin/busybox cat > /dev/null
exit 0
`

/**
 * Starts what stands for a container: a root with nothing in it but BusyBox, with mounts and processes of its own, that
 * goes on between the commands that are run in it. As with `docker exec`, a command goes on when only the program that
 * started it is killed. The network and the users are the machine's. Linux, as root.
 *
 * @param directory The root becomes the folder `root` in here, which must not exist yet. It is left when all has ended.
 */
export async function makeBusyboxRoot(directory: string): Promise<BusyboxRoot> {
  if (process.getuid?.() !== 0) throw new Error('a root of its own needs to be made by root: run this test as root')
  const busybox = await systemProgram('busybox', 'busybox-static')
  const unshare = await systemProgram('unshare', 'util-linux')
  const nsenter = await systemProgram('nsenter', 'util-linux')
  const root = join(directory, 'root')
  await mkdir(directory, { recursive: true })
  await mkdir(root)
  await fill(root, busybox)

  const shell = [join(root, 'bin/busybox'), 'sh', '-c', firstProcess, 'sh', root]
  const child = spawn(unshare, ['--mount', '--pid', '--fork', '--kill-child', ...shell], { env: {} })
  let [said, complaint] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text
  })
  await once(child, 'spawn')
  await eventually(() => said.includes('\n') || child.exitCode !== null || child.signalCode !== null, 'its first line')
  if (!said.includes('\n')) throw new Error(`no root with ${busybox}, which has to be static: ${complaint}`)
  return new BusyboxRoot(root, Number(said), nsenter, child)
}

/** A root that goes on. Disposing it ends everything that runs in it. */
export class BusyboxRoot implements AsyncDisposable {
  /** The words that come before a command. */
  readonly prefix: readonly string[]

  /**
   * @param root Its files as seen from outside, but for what is mounted in it.
   * @param pid Its first process as seen from outside.
   */
  constructor(
    readonly root: string,
    readonly pid: number,
    nsenter: string,
    private readonly child: ChildProcess,
  ) {
    const inside = ['--target', String(pid), '--mount', '--pid', '--root', '--wd']
    const environment = ['-i', 'PATH=/bin:/sbin:/usr/bin:/usr/sbin', 'HOME=/']
    this.prefix = [nsenter, ...inside, '/bin/env', ...environment]
  }

  /** A file inside as seen from outside, also where something is mounted. Not for what follows absolute links. */
  seen(path: string): string {
    return join(`/proc/${this.pid}/root`, path)
  }

  /** Mounts a disk of so many KiB, a multiple of 4, at `/small`. */
  async mountSmall(kib: number): Promise<'/small'> {
    await this.run('mkdir', '-p', '/small')
    await this.run('mount', '-t', 'tmpfs', '-o', `size=${kib}k`, 'tmpfs', '/small')
    return '/small'
  }

  /** Makes `/readonly` one that nobody inside can write to. What is to be in it can be put there from outside. */
  async mountReadOnly(): Promise<'/readonly'> {
    await this.run('mkdir', '-p', '/readonly')
    await this.run('mount', '--bind', '/readonly', '/readonly')
    await this.run('mount', '-o', 'remount,bind,ro', '/readonly')
    return '/readonly'
  }

  async unmount(path: '/small' | '/readonly'): Promise<void> {
    await this.run('umount', path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const isOver = () => this.child.exitCode !== null || this.child.signalCode !== null
    // pid_namespaces(7): with the first process end all others, and only then it is seen to have ended.
    this.child.stdin?.end()
    await eventually(isOver, 'the end of the root').catch(async () => {
      this.child.kill('SIGKILL')
      await eventually(isOver, 'the end of a killed root')
    })
  }

  private async run(...command: string[]): Promise<void> {
    const [program, ...words] = [...this.prefix, ...command]
    await run(program!, words)
  }
}

async function fill(root: string, busybox: string): Promise<void> {
  for (const folder of ['bin', 'sbin', 'usr/bin', 'usr/sbin', 'proc', 'dev', 'tmp', 'configs'])
    await mkdir(join(root, folder), { recursive: true })
  await chmod(join(root, 'tmp'), 0o1777)
  for (const device of devices) await writeFile(join(root, 'dev', device), '')
  await copyFile(busybox, join(root, 'bin/busybox'))
  const { stdout } = await run(busybox, ['--list'])
  const applets = stdout.split('\n').filter((applet) => applet !== '' && applet !== 'busybox')
  // Relative, or from outside they would lead to the machine's own.
  for (const applet of applets) await symlink('busybox', join(root, 'bin', applet))
}
