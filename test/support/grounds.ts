import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type BusyboxRoot, makeBusyboxRoot } from './busybox-root.ts'
import { type Sshd, startSshd } from './sshd.ts'

/** A kind of place that plugins are installed in. A container stands for all that is entered by a command. */
export const groundKinds = ['this machine', 'a host over ssh', 'a container'] as const
export type GroundKind = (typeof groundKinds)[number]

/** One place for plugins. */
export interface Place {
  /** As a person writes it; null: the controller's own machine. */
  readonly target: string | null
  /** Its folder as the test sees it; for this machine that of the home. */
  readonly folder: string | null
}

/**
 * What the targets of one file of tests are on: nothing, a real sshd of its own, or a process with a BusyBox root in its
 * own namespaces. Each place on it is a folder of its own. Disposing it ends what was started.
 */
export class Ground implements AsyncDisposable {
  private places = 0

  private constructor(
    private readonly directory: string,
    readonly sshd: Sshd | null,
    readonly container: BusyboxRoot | null,
    private readonly path: string | undefined,
  ) {}

  static async make(kind: GroundKind): Promise<Ground> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-ground-')))
    const { PATH } = process.env
    if (kind === 'this machine') return new Ground(directory, null, null, PATH)
    if (kind === 'a container') return new Ground(directory, null, await makeBusyboxRoot(directory), PATH)
    const sshd = await startSshd(directory)
    process.env.PATH = `${sshd.bin}${delimiter}${PATH}`
    return new Ground(directory, sshd, null, PATH)
  }

  /** A new one that nobody has used. */
  async place(): Promise<Place> {
    this.places += 1
    const name = `place-${this.places}`
    if (this.container !== null) {
      const folder = join(this.container.root, 'configs', name)
      return { target: this.within(`/configs/${name}`), folder }
    }
    if (this.sshd === null) return { target: null, folder: null }
    const folder = join(this.directory, name)
    await mkdir(folder)
    return { target: `ssh://${this.sshd.alias}${folder}`, folder }
  }

  /** The address of a folder in the container. */
  within(path: string): string {
    return `exec:${this.container!.prefix.join(' ')}#${path}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.env.PATH = this.path
    await this.sshd?.[Symbol.asyncDispose]()
    await this.container?.[Symbol.asyncDispose]()
    await rm(this.directory, { recursive: true, force: true })
  }
}
