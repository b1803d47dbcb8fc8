import { InstarError } from '../errors.ts'

/** Whether what is wanted of a package is a repository, as npm writes it: `git+https://…`, `github:owner/name`, … */
export const isGitSpec = (wanted: string) => /^(git\+|git:|git@|github:|gitlab:|bitbucket:|gist:)/.test(wanted)

/** Which repository is meant, and what of it. */
export interface GitSpec {
  /** What git is given. */
  readonly url: string
  /** A branch, a tag, a whole commit, or `HEAD`. */
  readonly ref: string
  /** Which tags will do; null where `ref` says it. */
  readonly range: string | null
}

/** @throws {InstarError} `GIT_SPEC_INVALID`, which does not repeat a password. */
export async function readGitSpec(wanted: string): Promise<GitSpec> {
  const { default: npa } = await import('npm-package-arg')
  // Over https also the name alone may be a token.
  const text = wanted.replace(/^(git\+https?:\/\/)[^/]*@|(\/\/[^/@:]*:)[^@/]*@/, '$1$2…@')
  const refused = (why: string, cause?: unknown) => new InstarError('GIT_SPEC_INVALID', `${text}: ${why}`, { cause })
  if (text !== wanted) throw refused('a password would be written down with it')
  const spec = parsed(npa, wanted, (cause) => refused('it cannot be read', cause))
  if (spec.type !== 'git') throw refused('it names no repository')
  if (spec.gitSubdir !== undefined) throw refused('only a whole repository is a package')
  const url = spec.fetchSpec ?? (spec.hosted as unknown as Hosted).https({ noGitPlus: true, noCommittish: true })
  // Others are not encrypted, or mean something else to git than to whoever reads them.
  if (!/^(https:\/\/|ssh:\/\/|file:\/\/\/)[^-]/.test(url)) throw refused('only https, ssh and file are spoken')
  const range = spec.gitRange ?? null
  const ref = /#(.*)$/s.exec(wanted)?.[1] ?? 'HEAD'
  if (range === null && (!/^\w[\w./-]*$/.test(ref) || ref.includes('..')))
    throw refused(`"${ref}" names no branch, tag or commit`)
  return { url, ref, range }
}

/** What `@types/npm-package-arg` does not say of a shortcut such as `github:owner/name`. */
interface Hosted {
  https(options: { readonly noGitPlus: true; readonly noCommittish: true }): string
}

type Npa = typeof import('npm-package-arg')

function parsed(npa: Npa, wanted: string, refused: (cause: unknown) => InstarError) {
  try {
    return npa(wanted) as ReturnType<Npa> & { readonly gitSubdir?: string }
  } catch (cause) {
    throw refused(cause)
  }
}
