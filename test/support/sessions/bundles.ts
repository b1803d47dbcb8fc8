import { execFile } from 'node:child_process'
import { copyFile, mkdir, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as esbuild from 'esbuild'
import * as vite from 'vite'
import type { DaemonProgram } from './daemon-trial.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const host = fileURLToPath(new URL('bundled-host.mjs', import.meta.url))
const require = createRequire(import.meta.url)

/** Bundlers, by how hosts use them. Each makes `host.mjs` or `host.cjs` of a program, in a folder. */
export const bundlers = {
  'esbuild, as one module': (entry, folder) =>
    byEsbuild(entry, join(folder, 'host.mjs'), {
      format: 'esm',
      // Packages of the controller are CommonJS, and require what is built into Node.
      banner: { js: "import { createRequire as load } from 'node:module'; const require = load(import.meta.url)" },
    }),
  'esbuild, for CommonJS': (entry, folder) =>
    byEsbuild(entry, join(folder, 'host.cjs'), { format: 'cjs', logOverride: { 'empty-import-meta': 'silent' } }),
  'Vite, for servers': (entry, folder) => byVite(entry, join(folder, 'host.mjs'), { ssr: entry }),
  'Vite, as a library': (entry, folder) =>
    byVite(entry, join(folder, 'host.cjs'), { ssr: true, lib: { entry, formats: ['cjs'] } }),
} satisfies Record<string, (entry: string, folder: string) => Promise<string>>

export type Bundler = keyof typeof bundlers

async function byEsbuild(entry: string, outfile: string, options: esbuild.BuildOptions): Promise<string> {
  const common = { bundle: true, platform: 'node', target: 'node20', minify: true, logLevel: 'warning' } as const
  await esbuild.build({ entryPoints: [entry], outfile, ...common, ...options })
  return outfile
}

async function byVite(entry: string, outfile: string, options: vite.BuildEnvironmentOptions): Promise<string> {
  const output = { entryFileNames: basename(outfile) }
  const common = { target: 'node20', minify: true, emptyOutDir: false, rolldownOptions: { output } }
  await vite.build({
    configFile: false,
    root: dirname(entry),
    publicDir: false,
    logLevel: 'warn',
    ssr: { noExternal: true },
    build: { outDir: dirname(outfile), ...common, ...options },
  })
  return outfile
}

/** A release of a host: its bundle, with beside it what no bundler takes in, and nothing else of this package. */
export class HostRelease {
  private constructor(
    /** Absolute path of the bundle. */
    readonly main: string,
    readonly keeper: string,
  ) {}

  /**
   * @param source A folder with the package installed in it. It is not needed any more afterwards.
   * @param outside The packages that are installed beside the bundle.
   */
  static async make(bundler: Bundler, source: string, folder: string, outside = nativePackages): Promise<HostRelease> {
    await mkdir(join(folder, 'node_modules'), { recursive: true })
    const entry = join(source, 'host.mjs')
    await copyFile(host, entry)
    const main = await bundlers[bundler](entry, folder)
    for (const name of outside) await symlink(packageFolder(name), join(folder, 'node_modules', name))
    const keeper = join(folder, 'keeper')
    for (const name of ['keeper', 'descriptors.node'])
      await copyFile(join(source, 'node_modules/instar/dist/native', name), join(folder, name))
    return new HostRelease(main, keeper)
  }

  get daemon(): DaemonProgram {
    return { main: this.main, word: 'session-daemon', keeper: this.keeper }
  }

  /** Runs the host for one step. */
  async tell(home: string, words: readonly string[], environment: Record<string, string>): Promise<unknown> {
    const env = { ...process.env, ...environment }
    const { stdout } = await promisify(execFile)(process.execPath, [this.main, home, ...words], { env })
    return JSON.parse(stdout)
  }

  /** A folder for a package that is installed beside the bundle. */
  async place(name: string): Promise<string> {
    const folder = join(dirname(this.main), 'node_modules', name)
    await mkdir(folder)
    return folder
  }
}

const nativePackages = ['node-pty', 'fs-native-extensions']

export const packageFolder = (name: string) => dirname(require.resolve(`${name}/package.json`, { paths: [root] }))
