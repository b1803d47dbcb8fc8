import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { extract } from 'tar'
import { compileNative } from './sessions/keeper.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

/** What makes another version of the packed one: its number, and pieces of its files that are replaced. */
export interface VersionChange {
  readonly version: string
  readonly edits?: readonly { readonly file: string; readonly from: string; readonly to: string }[]
}

/** This package as it is published: built from what is in the tree now, packed by npm, and installed from that. */
export class PackedPackage implements AsyncDisposable {
  private constructor(
    private readonly folder: string,
    private readonly tarball: string,
  ) {}

  static async pack(): Promise<PackedPackage> {
    const folder = await mkdtemp(join(tmpdir(), 'instar-packed-'))
    const tree = join(folder, 'tree')
    const { files } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { files: string[] }
    const named = files.filter((file) => file !== 'dist' && !file.startsWith('!'))
    for (const file of [...named, 'package.json', 'README.md', 'LICENSE'])
      await cp(join(root, file), join(tree, file), { recursive: true })
    await Promise.all([build(tree), compileNative(join(tree, 'dist/native/keeper'))])
    const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
      cwd: tree,
    })
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
    return new PackedPackage(folder, join(folder, filename))
  }

  /** Installs it as `node_modules/instar` in a folder, which is made. What it depends on is this tree's. */
  async install(folder: string, change?: VersionChange): Promise<void> {
    const place = join(folder, 'node_modules/instar')
    await mkdir(place, { recursive: true })
    await extract({ file: this.tarball, cwd: place, strip: 1 })
    await symlink(join(root, 'node_modules'), join(place, 'node_modules'))
    if (change !== undefined) await raise(place, change)
    await run(process.execPath, [join(root, 'scripts/bundle-programs.mjs'), place])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
  }
}

async function build(tree: string): Promise<void> {
  const config = {
    extends: join(root, 'tsconfig.build.json'),
    compilerOptions: {
      rootDir: root,
      outDir: join(tree, 'dist'),
      declaration: false,
      noCheck: true,
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: [join(root, 'src'), join(root, 'machines')],
  }
  const file = join(dirname(tree), 'tsconfig.json')
  await writeFile(file, JSON.stringify(config))
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', file])
}

async function raise(place: string, { version, edits = [] }: VersionChange): Promise<void> {
  const { version: old } = JSON.parse(await readFile(join(place, 'package.json'), 'utf8')) as { version: string }
  const ours = [
    { file: 'package.json', from: `"version": "${old}"`, to: `"version": "${version}"` },
    { file: 'dist/src/package-version.js', from: `'${old}'`, to: `'${version}'` },
  ]
  for (const { file, from, to } of [...ours, ...edits]) {
    const text = await readFile(join(place, file), 'utf8')
    if (text.split(from).length !== 2) throw new Error(`${file} holds ${JSON.stringify(from)} not once`)
    await writeFile(join(place, file), text.replace(from, to))
  }
}
