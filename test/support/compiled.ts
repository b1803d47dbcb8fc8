import { copyFile, cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { packageVersion } from '../../src/package-version.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Compiled {
  /** Absolute path of what `path` (such as `src/errors.ts`) was compiled to. */
  file(path: string): string
  /** Puts a copy of all of it into `folder`, in which `path` says that it is of another version. */
  copy(folder: string, path: string, version: string): Promise<void>
  remove(): Promise<void>
}

/**
 * Compiles some sources for tests that need them in a plain `node` process. Always what is in the tree now, which `dist`
 * need not be. Each becomes one file with all that it imports: the tests start thousands of processes, and Node reads one
 * file in half the time that it takes for hundreds.
 */
export function compile(...paths: string[]): Promise<Compiled> {
  return compiled(paths, {})
}

/**
 * The same in parts: what is imported when it is needed stays apart, which halves what a start costs. Not for a program that
 * looks for files beside its own.
 */
export function compileInParts(...paths: string[]): Promise<Compiled> {
  return compiled(paths, { splitting: true, chunkNames: 'src/parts/[name]-[hash]' })
}

async function compiled(
  paths: readonly string[],
  options: { readonly splitting?: true; readonly chunkNames?: string },
): Promise<Compiled> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'instar-compiled-')))
  await copyFile(join(root, 'package.json'), join(folder, 'package.json'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await build({
    entryPoints: paths.map((path) => join(root, path)),
    outbase: root,
    outdir: folder,
    ...options,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    // What is compiled for a machine is found by its place, and what is large is read only by those who ask for it; the
    // dependencies of CommonJS want to `require`.
    external: ['fs-native-extensions', 'node-pty', '@modelcontextprotocol/*'],
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)",
    },
    logLevel: 'error',
  })
  const built = (path: string) => path.replace(/\.ts$/, '.js')
  return {
    file: (path) => join(folder, built(path)),
    copy: async (to, path, version) => {
      await cp(folder, to, { recursive: true })
      const code = await readFile(join(to, built(path)), 'utf8')
      const own = `packageVersion = "${packageVersion}"`
      if (!code.includes(own)) throw new Error(`${path} does not say its version`)
      await writeFile(join(to, built(path)), code.replace(own, `packageVersion = "${version}"`))
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
