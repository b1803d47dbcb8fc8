// What the benchmarks share with the tests is TypeScript; this compiles it, with what it imports, for as long as `work` takes.
import { execFile } from 'node:child_process'
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { inScratch } from './measure.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Calls `work` with a function that imports a compiled source, and one that says where it lies. */
export const withCompiled = (paths, work) =>
  inScratch(async (folder) => {
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
    await promisify(execFile)(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder])
    await copyFile(join(root, 'package.json'), join(folder, 'package.json'))
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
    await mkdir(join(folder, 'dist'), { recursive: true })
    await symlink(join(root, 'dist/native'), join(folder, 'dist/native'))
    const file = (path) => join(folder, path.replace(/\.ts$/, '.js'))
    return work({ file, load: (path) => import(pathToFileURL(file(path))) })
  })

export const source = (path) => join(root, path)
