import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { draftTag } from '../releases/draft.ts'
import { addressText, readAddress } from './address.ts'
import { LocalTarget } from './local-target.ts'
import { ownerOf } from './owner.ts'
import { PrefixShell } from './prefix-shell.ts'
import { RemoteTarget } from './remote-target.ts'
import { SshShell } from './ssh-shell.ts'
import type { Target } from './target.ts'

/** The places that plugins of one home are installed in. */
export class Targets {
  private readonly open = new Map<string, Target>()

  private constructor(
    private readonly home: string,
    private readonly owner: string,
    private readonly named: Readonly<Record<string, string>>,
  ) {}

  /** @param named By the configuration. */
  static async of(home: string, named: Readonly<Record<string, string>>): Promise<Targets> {
    return new Targets(home, await ownerOf(home), named)
  }

  /**
   * The address of what a person calls `name`, in the one spelling that it has in the journal, where it means the same
   * whatever becomes of the configuration.
   *
   * @throws {InstarError} `PLUGIN_TARGET_UNKNOWN`, `PLUGIN_TARGET_INVALID`
   */
  address(name: string): string {
    if (Object.hasOwn(this.named, name)) return addressText(readAddress(this.named[name]!))
    if (name === 'local' || name.includes(':')) return addressText(readAddress(name))
    const known = ['local', ...Object.keys(this.named)]
    throw new InstarError('PLUGIN_TARGET_UNKNOWN', `there is no target "${name}"${didYouMean(name, known)}`)
  }

  /** @throws {InstarError} `PLUGIN_TARGET_INVALID` */
  at(address: string): Target {
    const known = this.open.get(address)
    if (known !== undefined) return known
    const target = this.make(address)
    this.open.set(address, target)
    return target
  }

  async close(): Promise<void> {
    await Promise.all([...this.open.values()].map((target) => target.close()))
  }

  private make(text: string): Target {
    const address = readAddress(text)
    // Two addresses may lead to one folder, and each has attempts under way of its own.
    const tag = `${this.owner}-${draftTag(text).slice(0, 8)}`
    if (address.kind === 'local') return new LocalTarget(join(this.home, 'plugins'), this.owner, tag)
    const shell =
      address.kind === 'ssh' ? new SshShell(address, join(this.home, 'ssh')) : new PrefixShell(address.prefix)
    return new RemoteTarget(shell, address.path, this.owner, tag)
  }
}
