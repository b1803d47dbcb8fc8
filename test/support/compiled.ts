import { copyFile, mkdtemp, realpath, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Compiled {
  /** Absolute path of what `path` (such as `src/errors.ts`) was compiled to. */
  file(path: string): string
  remove(): Promise<void>
}

/**
 * Compiles some sources for tests that need them in a plain `node` process. Always what is in the tree now, which `dist`
 * need not be. Each becomes one file with all that it imports: the tests start thousands of processes, and Node reads one
 * file in half the time that it takes for hundreds.
 */
export async function compile(...paths: string[]): Promise<Compiled> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'instar-compiled-')))
  await copyFile(join(root, 'package.json'), join(folder, 'package.json'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await build({
    entryPoints: paths.map((path) => join(root, path)),
    outbase: root,
    outdir: folder,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    // What is compiled for a machine is found by its place; the dependencies of CommonJS want to `require`.
    external: ['fs-native-extensions', 'node-pty'],
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)",
    },
    logLevel: 'error',
  })
  return {
    file: (path) => join(folder, path.replace(/\.ts$/, '.js')),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
