import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Compiled {
  /** Absolute path of what `path` (such as `src/errors.ts`) was compiled to. */
  file(path: string): string
  remove(): Promise<void>
}

/**
 * Compiles some sources, with what they import, for tests that need them in a plain `node` process. Always what is in
 * the tree now, which `dist` need not be.
 */
export async function compile(...paths: string[]): Promise<Compiled> {
  const folder = await mkdtemp(join(tmpdir(), 'instar-compiled-'))
  const config = {
    extends: join(root, 'tsconfig.build.json'),
    compilerOptions: {
      rootDir: root,
      outDir: folder,
      declaration: false,
      noCheck: true,
      typeRoots: [join(root, 'node_modules/@types')],
    },
    files: paths.map((path) => join(root, path)),
    include: [],
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
  await copyFile(join(root, 'package.json'), join(folder, 'package.json'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await new Promise<void>((resolve, reject) => {
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    execFile(process.execPath, [tsc, '-p', folder], (error, stdout) =>
      error === null ? resolve() : reject(new Error(`tsc: ${stdout}`, { cause: error })),
    )
  })
  return {
    file: (path) => join(folder, path.replace(/\.ts$/, '.js')),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
