import { createHash, randomUUID } from 'node:crypto'
import type { Installed } from '../../machines/plugin.ts'
import { InstarError, type InstarErrorCode } from '../errors.ts'
import { decodeName, folderOf } from '../releases/layout.ts'
import { digestOf } from '../releases/tree.ts'
import { type RunOptions, runCommand } from '../run-command.ts'
import { type Answer, readAnswer } from './answer.ts'
import {
  folderIn,
  foreign,
  isTreeFolder,
  linkPrefix,
  liveTarget,
  previousName,
  shelfOf,
  stagingPrefix,
} from './layout.ts'
import { pack } from './pack.ts'
import { problemsOf, unreadable } from './read.ts'
import {
  namesScript,
  pointScript,
  putScript,
  readScript,
  removeScript,
  shelfScript,
  shelvesScript,
  sweepScript,
} from './remote-scripts.ts'
import { listingOf, reportOf } from './report.ts'
import { decodePluginSeal, encodePluginSeal, newSeal, type PluginSeal } from './seal.ts'
import type { Shell } from './shell.ts'
import type { Putting, Read, Shelf, Shelved, Surveyed, Target } from './target.ts'

const stepDeadlineMs = 2 * 60_000
/** For a step that reads or writes whole trees. */
const treeDeadlineMs = 30 * 60_000
/** Linux takes no word of more than 128 KiB, and ssh is given all arguments as one; names have their length. */
const namesAtOnce = 200

const failures = { unreachable: 'TARGET_UNREACHABLE', failed: 'TARGET_FAILED' } as const

/** A directory that only a shell can reach. Nothing is kept there but plugins: what was done is in the journal here. */
export class RemoteTarget implements Target {
  /**
   * @param root Absolute, as the far side calls it.
   * @param tag What names of attempts begin with: this owner's at this address.
   */
  constructor(
    private readonly shell: Shell,
    private readonly root: string,
    readonly owner: string,
    private readonly tag: string,
  ) {}

  async survey(signal?: AbortSignal): Promise<Surveyed[]> {
    const names = (await this.run(namesScript, [this.root], { signal })).all('shelf')
    const plugins = names.flatMap((name) => decodeName(name) ?? []).sort()
    const surveyed: Surveyed[] = []
    for (let at = 0; at < plugins.length; at += namesAtOnce)
      surveyed.push(...(await this.surveySome(plugins.slice(at, at + namesAtOnce), signal)))
    return surveyed
  }

  async shelf(plugin: string, signal?: AbortSignal): Promise<Shelf> {
    const places = [this.livePath(plugin), this.shelfPath(plugin)]
    return this.readShelf(plugin, await this.run(shelfScript, places, { signal }))
  }

  async read(plugin: string, folders: readonly string[], signal?: AbortSignal): Promise<Read[]> {
    if (folders.length === 0) return []
    const args = [this.shelfPath(plugin), ...folders]
    const answer = await this.run(readScript, args, { signal, deadlineMs: treeDeadlineMs })
    const parts = answer.split('content')
    return folders.map((folder) => {
      const part = parts.find(({ value }) => value === folder)
      return part === undefined ? unreadable(folder, 'it is not there') : readTree(folder, part)
    })
  }

  async put({ plugin, version, digest, content, listing, key, signal, progress }: Putting): Promise<Installed> {
    const shelf = this.shelfPath(plugin)
    const staging = `${shelf}/${stagingPrefix}${this.tag}-${key}-${once()}`
    const seal = newSeal({ name: plugin, version, digest, owner: this.owner })
    const stem = folderOf({ version, digest })
    const expected = createHash('sha256').update(reportOf(listing)).digest('hex')
    const args = [shelf, this.owner, this.tag, staging, stem, expected, digest, encodePluginSeal(seal).trim()]
    const input = () => pack(content, (bytes) => progress({ phase: 'uploading', version, bytes }))
    const answer = await this.run(putScript, args, { input, signal, deadlineMs: treeDeadlineMs })
    const folder = answer.one('folder')
    if (folder === undefined || !isTreeFolder(folder)) throw garbled()
    return { folder, version, digest }
  }

  async point(plugin: string, link: 'live' | 'previous', folder: string | null): Promise<void> {
    const shelf = this.shelfPath(plugin)
    const path = link === 'live' ? this.livePath(plugin) : `${shelf}/${previousName}`
    const draft = `${shelf}/${linkPrefix}${this.tag}-${link}-${once()}`
    const text = folder === null ? '' : link === 'live' ? liveTarget(plugin, folder) : folder
    await this.run(pointScript, [shelf, path, draft, folder ?? '', text])
  }

  async remove(plugin: string, folders: readonly string[], signal?: AbortSignal): Promise<string[]> {
    if (folders.length === 0) return []
    const shelf = this.shelfPath(plugin)
    const args = [this.livePath(plugin), shelf, this.tag, ...folders]
    const answer = await this.run(removeScript, args, { signal, deadlineMs: treeDeadlineMs })
    return answer.all('removed').map((folder) => `${shelf}/${folder}`)
  }

  async sweep(plugin: string, signal?: AbortSignal): Promise<string[]> {
    const shelf = this.shelfPath(plugin)
    const answer = await this.run(sweepScript, [shelf, this.tag], { signal, deadlineMs: treeDeadlineMs })
    return answer.all('swept').map((name) => `${shelf}/${name}`)
  }

  close(): Promise<void> {
    return this.shell.close()
  }

  private livePath(plugin: string): string {
    return `${this.root}/${plugin}`
  }

  private shelfPath(plugin: string): string {
    return `${this.root}/${shelfOf(plugin)}`
  }

  private async run(script: string, args: readonly string[], options: Partial<RunOptions> = {}): Promise<Answer> {
    const command = await this.shell.command(script, args)
    const ran = await runCommand(command, { deadlineMs: stepDeadlineMs, failures, ...options })
    const answer = readAnswer(ran.stdout)
    if (answer === null) throw this.shell.explain(ran)
    if (answer.failure !== null) throw failureOf(answer.failure, ran.stderr)
    // Absence of an answer is never success.
    if (!answer.isWhole) throw cutShort(ran.code, ran.stderr)
    return answer
  }

  private async surveySome(plugins: readonly string[], signal: AbortSignal | undefined): Promise<Surveyed[]> {
    const places = plugins.flatMap((plugin) => [plugin, shelfOf(plugin)])
    const [, ...parts] = (await this.run(shelvesScript, [this.root, ...places], { signal })).split('plugin')
    return plugins.map((plugin, at) => {
      try {
        return { plugin, shelf: this.readShelf(plugin, parts[at]!) }
      } catch (error) {
        return { plugin, problem: error as Error }
      }
    })
  }

  private readShelf(plugin: string, part: Answer): Shelf {
    const linked = (key: string, path: string, read: (text: string) => string | null) => {
      const text = part.one(key)
      const folder = text === undefined ? null : read(text)
      if (part.one(`${key}-foreign`) !== undefined || (text !== undefined && folder === null)) throw foreign(path)
      return folder
    }
    const shelf = this.shelfPath(plugin)
    const live = linked('live', this.livePath(plugin), (text) => folderIn(plugin, text))
    const previous = linked('previous', `${shelf}/${previousName}`, (text) => (isTreeFolder(text) ? text : null))
    const seals = sealsIn(part)
    const trees = part
      .all('tree')
      .filter(isTreeFolder)
      .map((folder): Shelved => ({ folder, seal: decodePluginSeal(seals.get(folder) ?? '') }))
    return { live, astray: astray(live, part), previous, trees }
  }
}

function astray(live: string | null, part: Answer): string | null {
  if (live === null) return null
  const leads = part.one('leads') ?? ''
  if (leads === '') return 'nowhere'
  return leads === `${part.one('under')}/${live}` ? null : leads
}

function readTree(folder: string, part: Answer): Read {
  const listing = listingOf(part.all('r'))
  if (typeof listing !== 'string') return unreadable(folder, listing.problem)
  const seal = sealIn(part)
  const digest = digestOf(listing)
  const manifest = part.one('manifest:') ?? null
  return { folder, seal, digest, listing, manifest, problems: problemsOf(seal, digest) }
}

/** By tree. What has a second line is no seal. */
function sealsIn(part: Answer): Map<string, string> {
  const seals = new Map<string, string>()
  for (const line of part.all('sealed')) {
    const [, folder = '', text = ''] = /^([^/]+)\/\.complete:(.*)$/.exec(line) ?? []
    seals.set(folder, `${seals.get(folder) ?? ''}${text}\n`)
  }
  return seals
}

function sealIn(part: Answer): PluginSeal | null {
  const text = part.one('seal:')
  return text === undefined ? null : decodePluginSeal(text)
}

/** Part of a name that no other step uses: a script of a connection that was lost may still be at work on its own. */
const once = () => randomUUID().slice(0, 8)

function failureOf(failure: string, stderr: string): InstarError {
  const [, kind = '', text = ''] = /^(\w+) ?(.*)$/s.exec(failure) ?? []
  if (kind === 'foreign') return foreign(text)
  if (kind === 'damaged') return new InstarError('PLUGIN_DAMAGED', 'what arrived is not what was sent')
  const message = stderr === '' ? text : `${text}: ${stderr}`
  const code = kind === 'unsupported' ? 'TARGET_UNSUPPORTED' : (diskCode(stderr) ?? 'TARGET_FAILED')
  return new InstarError(code, message)
}

function cutShort(code: number | null, stderr: string): InstarError {
  const how = code === null ? 'it was killed' : `it ended with code ${code}`
  const message = `the step on the target did not come to its end: ${stderr || how}`
  // 255 is what ssh itself ends with.
  return new InstarError(diskCode(stderr) ?? (code === 255 ? 'TARGET_UNREACHABLE' : 'TARGET_FAILED'), message)
}

function diskCode(stderr: string): InstarErrorCode | null {
  if (/no space left on device|disk quota exceeded/i.test(stderr)) return 'DISK_FULL'
  return /read-only file system|input\/output error/i.test(stderr) ? 'DISK_FAILED' : null
}

const garbled = () => new InstarError('TARGET_FAILED', 'the target has answered something that means nothing')
