import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { InstarError } from '../errors.ts'
import { type Ran, runCommand } from '../run-command.ts'
import { readGitSpec } from './git-spec.ts'
import { manifestBytes, metadataLimits, tarballLimits } from './limits.ts'
import { readIdentity } from './read-manifest.ts'

/** One commit of a repository, and where git finds it. */
export interface GitCommit {
  readonly url: string
  readonly commit: string
}

export interface GitOptions {
  /** Absolute path of a folder for this alone, which may be missing; the caller removes it. */
  readonly directory: string
  readonly signal?: AbortSignal | undefined
  /** Bytes that have come so far. */
  readonly onBytes?: (bytes: number) => void
}

/**
 * Which commit is meant, and which package is there. Behind `#` stands a branch, a tag or a whole commit, or
 * `semver:RANGE` for the highest version among the tags; without it, what the repository shows first.
 *
 * By the system's git, with the user's configuration, and without asking anybody anything. Nothing is checked out, so no
 * hook, filter or submodule of the repository is looked at.
 *
 * @throws {InstarError} `GIT_SPEC_INVALID`, `GIT_FAILED`, `VERSION_NOT_FOUND`, `MANIFEST_INVALID`, `ABORTED`.
 */
export async function resolveGit(
  wanted: string,
  options: GitOptions,
): Promise<GitCommit & { readonly name: string; readonly version: string }> {
  const { url, ref, range } = await readGitSpec(wanted)
  const repository = await Repository.make(url, options)
  const commit = await repository.fetch(range === null ? ref : await repository.tagWithin(range), { withFiles: false })
  const manifest = await repository.text(commit, 'package.json')
  return { url, commit, ...(await readIdentity(manifest)) }
}

/**
 * Writes the files of a commit as a gzipped tar archive, below a folder `package` as the registry does. What the
 * repository's attributes call `export-ignore` is left out.
 *
 * @throws {InstarError} `GIT_FAILED`, `TARBALL_TOO_LARGE`, `ABORTED`.
 */
export async function archiveGit({ url, commit }: GitCommit, file: string, options: GitOptions): Promise<void> {
  const repository = await Repository.make(url, options)
  await repository.fetch(commit, { withFiles: true })
  await repository.archive(commit, file)
}

const failures = { unreachable: 'GIT_FAILED', failed: 'GIT_FAILED' } as const
const lookMs = 200

/** A repository of our own, without files, that holds no more of another one than is asked for. */
class Repository {
  private constructor(
    private readonly url: string,
    private readonly options: GitOptions,
  ) {}

  static async make(url: string, options: GitOptions): Promise<Repository> {
    const repository = new Repository(url, options)
    await repository.git(['init', '--quiet', '--bare', '--template='], metadataLimits.deadlineMs)
    return repository
  }

  /** The highest tag that is a version in `range`. */
  async tagWithin(range: string): Promise<string> {
    const { stdout } = await this.git(['ls-remote', '--tags', '--refs', 'origin'], metadataLimits.deadlineMs)
    const { default: semver } = await import('semver')
    const tags = [...stdout.toString('utf8').matchAll(/\trefs\/tags\/(\S+)$/gm)].map(([, tag]) => tag!)
    const versions = tags.flatMap((tag) => semver.valid(tag, { loose: true }) ?? [])
    const best = semver.maxSatisfying(versions, range)
    const tag = tags.find((one) => best !== null && semver.valid(one, { loose: true }) === best)
    if (tag === undefined) throw new InstarError('VERSION_NOT_FOUND', `${this.url} has no tag within ${range}`)
    return `refs/tags/${tag}`
  }

  /** Brings one commit, without those before it. Answers with its whole name. */
  async fetch(ref: string, { withFiles }: { readonly withFiles: boolean }): Promise<string> {
    const promise = ['-c', 'remote.origin.promisor=true', '-c', 'remote.origin.partialCloneFilter=blob:none']
    const { deadlineMs } = withFiles ? tarballLimits : metadataLimits
    await this.bounded(this.packs, (signal) =>
      this.git(
        [...(withFiles ? [] : promise), 'fetch', '--quiet', '--no-tags', '--depth=1', 'origin', ref],
        deadlineMs,
        signal,
      ),
    )
    const { stdout } = await this.git(['rev-parse', '--verify', 'FETCH_HEAD^{commit}'], deadlineMs)
    return stdout.toString('utf8').trim()
  }

  async text(commit: string, path: string): Promise<string> {
    const { stdout } = await this.git(['cat-file', 'blob', `${commit}:${path}`], metadataLimits.deadlineMs)
    if (stdout.length > manifestBytes)
      throw new InstarError('MANIFEST_INVALID', `${path} has ${stdout.length} bytes, at most ${manifestBytes} are read`)
    return stdout.toString('utf8')
  }

  async archive(commit: string, file: string): Promise<void> {
    const format = ['--format=tar.gz', '--prefix=package/', `--output=${file}`]
    const size = async () => (await stat(file).catch(() => ({ size: 0 }))).size
    await this.bounded(size, (signal) => this.git(['archive', ...format, commit], tarballLimits.deadlineMs, signal))
  }

  private readonly packs = async (): Promise<number> => {
    const folder = join(this.options.directory, 'objects', 'pack')
    const names = await readdir(folder).catch(() => [])
    const sizes = names.map(async (name) => (await stat(join(folder, name)).catch(() => ({ size: 0 }))).size)
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
  }

  /** Git has no limit of its own for what it takes, so what it has taken is looked at. */
  private async bounded(
    bytesNow: () => Promise<number>,
    work: (signal: AbortSignal) => Promise<unknown>,
  ): Promise<void> {
    const { signal, onBytes } = this.options
    const tooLarge = new AbortController()
    const look = async () => {
      const bytes = await bytesNow()
      onBytes?.(bytes)
      if (bytes > tarballLimits.bytes) tooLarge.abort()
    }
    const timer = setInterval(() => void look(), lookMs)
    try {
      await work(signal === undefined ? tooLarge.signal : AbortSignal.any([signal, tooLarge.signal]))
      await look()
    } catch (error) {
      if (!tooLarge.signal.aborted) throw error
    } finally {
      clearInterval(timer)
    }
    if (tooLarge.signal.aborted)
      throw new InstarError('TARBALL_TOO_LARGE', `${this.url} has more than ${tarballLimits.bytes} bytes`)
  }

  private async git(args: readonly string[], deadlineMs: number, signal = this.options.signal): Promise<Ran> {
    const { minBytesPerSecond, slowAfterMs } = tarballLimits
    const settings = {
      'remote.origin.url': this.url,
      'http.lowSpeedLimit': minBytesPerSecond,
      'http.lowSpeedTime': slowAfterMs / 1000,
      // Nothing may go on behind our back.
      'gc.auto': 0,
      'maintenance.auto': false,
    }
    const configured = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const words = ['git', '--git-dir', this.options.directory, ...configured, ...args]
    const ran = await runCommand(words, { deadlineMs, signal, environment: environment(), failures })
    if (ran.code === 0) return ran
    const isUnknown = /couldn't find remote ref|not our ref|does not exist in|bad object/i.test(ran.stderr)
    throw new InstarError(isUnknown ? 'VERSION_NOT_FOUND' : 'GIT_FAILED', `${this.url}: ${ran.stderr}`)
  }
}

/** The user's own, less what would name another repository, and with nobody to ask. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !localNames.has(name))
  return {
    ...Object.fromEntries(kept),
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    SSH_ASKPASS_REQUIRE: 'never',
    GIT_ALLOW_PROTOCOL: 'https:ssh:file',
  }
}

/** What `git rev-parse --local-env-vars` names: a controller may be started by a hook. */
const localNames = new Set(
  `GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_CONFIG GIT_CONFIG_PARAMETERS GIT_CONFIG_COUNT GIT_OBJECT_DIRECTORY GIT_DIR
   GIT_WORK_TREE GIT_IMPLICIT_WORK_TREE GIT_GRAFT_FILE GIT_INDEX_FILE GIT_NO_REPLACE_OBJECTS GIT_REPLACE_REF_BASE
   GIT_PREFIX GIT_SHALLOW_FILE GIT_COMMON_DIR GIT_NAMESPACE GIT_INTERNAL_SUPER_PREFIX`.split(/\s+/),
)
