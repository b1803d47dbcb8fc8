import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { InstarError } from '../errors.ts'
import { childEnvironment } from './environment.ts'
import { inspectNode, type NodeFacts, plainNodeEnvironment } from './node-version.ts'
import { reasonIn } from './output.ts'

export interface NativeCheck {
  readonly release: string
  /** Names of the packages that the host supplied to the release. */
  readonly provided: readonly string[]
  /** The executable that will run the release. */
  readonly node: string
  readonly signal?: AbortSignal
}

/**
 * Proves that the native modules of a release work in the Node that will run it, by loading them there: every provided
 * package as the release would import it, and every `.node` file that is not meant for another system. Each in a process
 * of its own, because a bad one may crash and an old one loads only once.
 *
 * @throws {InstarError} `NATIVE_UNLOADABLE`; `details`: `file`, `reason`, and `provided` when the host supplied it.
 */
export async function checkNatives({ release, provided, node, signal }: NativeCheck): Promise<void> {
  const facts = await inspectNode(node, signal)
  for (const file of await nativeFiles(release)) {
    if (!isMeantFor(facts, file)) continue
    const owner = provided.find((name) => file.startsWith(`node_modules/${name}/`))
    await load({
      node,
      release,
      signal,
      what: file,
      script: loadFile,
      name: join(release, file),
      provided: owner !== undefined,
    })
  }
  for (const name of provided)
    await load({ node, release, signal, what: name, script: importPackage, name, provided: true })
}

// A package is resolved from the working directory, which is the release. What it starts when it is imported ends here.
const importPackage = `import(process.argv[1]).then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })`
const loadFile = `process.dlopen({ exports: {} }, process.argv[1]); process.exit(0)`

interface Load {
  readonly node: string
  readonly release: string
  readonly signal: AbortSignal | undefined
  /** How a person knows it: a path within the release, or a package. */
  readonly what: string
  readonly script: string
  readonly name: string
  readonly provided: boolean
}

async function load({ node, release, signal, what, script, name, provided }: Load): Promise<void> {
  const refusal = await new Promise<string | undefined>((resolve) => {
    execFile(
      node,
      ['-e', script, name],
      {
        cwd: release,
        env: plainNodeEnvironment(childEnvironment({})),
        timeout: 30_000,
        killSignal: 'SIGKILL',
        windowsHide: true,
        ...(signal && { signal }),
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve(undefined)
        const how = error.signal ? `loading it ended by ${error.signal}` : error.message.split('\n')[0]!
        resolve(reasonIn({ stdout, stderr }) || how)
      },
    )
  })
  signal?.throwIfAborted()
  if (refusal !== undefined)
    throw new InstarError('NATIVE_UNLOADABLE', `${what} cannot be loaded: ${refusal}`, {
      details: { file: what, reason: refusal, provided },
    })
}

/** Every `.node` file of a tree, with "/" between names. */
async function nativeFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.node'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort()
}

const platforms = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'openbsd', 'netbsd', 'sunos', 'win32']
const architectures = [
  'arm',
  'arm64',
  'armv6',
  'armv7',
  'armv8',
  'ia32',
  'loong64',
  'mips64el',
  'ppc64',
  'riscv64',
  's390x',
  'x64',
]

/**
 * Whether a file is meant for this Node, by the words in its path: packages with prebuilt files keep one per platform,
 * processor, C library, interface number and shell, and load the one that fits. A file without such words is for all.
 */
export function isMeantFor(node: NodeFacts, file: string): boolean {
  const words = new Set(file.toLowerCase().split(/[^a-z0-9]+/))
  const names = (all: readonly string[]) => all.filter((word) => words.has(word))
  const fits = (named: readonly string[], actual: string) => named.length === 0 || named.includes(actual)

  if (!fits(names(platforms), node.platform)) return false
  if (
    !fits(
      names(architectures).map((word) => word.replace(/^armv8$/, 'arm64').replace(/^armv\d$/, 'arm')),
      node.arch,
    )
  )
    return false
  if (words.has('musl') && !node.musl) return false
  if ((words.has('glibc') || words.has('gnu')) && node.musl) return false
  if (words.has('electron') && !node.electron) return false
  const interfaces = [...words].flatMap((word) => /^abi(\d+)$/.exec(word)?.[1] ?? [])
  return fits(interfaces, node.modules)
}
