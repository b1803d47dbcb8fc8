import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Config, parseConfig } from '../../src/config.ts'
import { type Controller, type ControllerOptions, openController } from '../../src/controller.ts'
import { type PublishOptions, startRegistry, type TestRegistry } from '../../src/testing/registry.ts'

/** A runtime that answers as itself on the port it is given. `first` runs before it listens. */
export const server = (version: string, first = '') => `
import { createServer } from 'node:http'
${first}
const port = Number(process.argv[process.argv.indexOf('--port') + 1])
createServer((_, response) => response.end('<title>tool ${version}</title>')).listen(port, '127.0.0.1')
`

export const dist = fileURLToPath(new URL('../../dist', import.meta.url))
export const cli = join(dist, 'cli.js')

interface HostOptions {
  /** More of the runtime's configuration. */
  readonly runtime?: object
  /** What `first` of the bundled version does. */
  readonly bundled?: string | null
}

/**
 * A host in a directory of its own: a registry on loopback, a home, and a runtime `tool` that comes bundled as 1.0.0.
 * Disposing it closes what is open and removes the directory.
 */
export class Host implements AsyncDisposable {
  private readonly opened: Controller[] = []

  private constructor(
    readonly directory: string,
    readonly registry: TestRegistry,
    private readonly options: HostOptions,
  ) {}

  static async make(options: HostOptions = {}): Promise<Host> {
    const directory = await realpath(await mkdtemp(join(tmpdir(), 'instar-host-')))
    const host = new Host(directory, await startRegistry(), options)
    if (options.bundled !== null) await host.bundle('1.0.0', options.bundled)
    await host.writeConfig()
    return host
  }

  get home(): string {
    return join(this.directory, 'home')
  }

  get configFile(): string {
    return join(this.directory, 'instar.config.json')
  }

  /** Where releases of the runtime lie. */
  get releases(): string {
    return join(this.home, 'releases', 'runtime', 'tool')
  }

  get stateFile(): string {
    return join(this.home, 'state', 'runtime', 'tool.json')
  }

  /** Publishes a version whose entry is `code`, by default a good one. */
  publish(
    version: string,
    code = server(version),
    more: PublishOptions & { files?: Record<string, string | Uint8Array> } = {},
  ) {
    const { files, ...options } = more
    this.registry.publish('tool', version, { 'main.mjs': code, ...files }, options)
  }

  /** Puts a version where the host's own files are. */
  async bundle(version: string, first?: string): Promise<void> {
    const path = join(this.directory, 'bundled', version)
    await mkdir(path, { recursive: true })
    await writeFile(join(path, 'main.mjs'), server(version, first))
    await writeFile(join(path, 'package.json'), JSON.stringify({ name: 'tool', version }))
  }

  rawConfig(more: object = {}, bundledVersion = '1.0.0'): object {
    const bundled = { path: join(this.directory, 'bundled', bundledVersion), version: bundledVersion }
    return {
      registry: this.registry.url,
      runtimes: {
        tool: {
          package: 'tool',
          entry: 'main.mjs',
          ...(this.options.bundled !== null && { bundled }),
          args: ['--port', '${port}'],
          probe: { http: '/', contains: '<title>tool', timeoutMs: 10_000 },
          probationMs: 200,
          ...this.options.runtime,
          ...more,
        },
      },
    }
  }

  config(more: object = {}, bundledVersion?: string): Config {
    return parseConfig(this.rawConfig(more, bundledVersion), this.directory)
  }

  async writeConfig(more: object = {}): Promise<void> {
    await writeFile(this.configFile, JSON.stringify(this.rawConfig(more)))
  }

  async open(options: Partial<ControllerOptions> = {}): Promise<Controller> {
    const controller = await openController({ home: this.home, config: this.config(), schedule: false, ...options })
    this.opened.push(controller)
    return controller
  }

  /** Runs the built command line on this host. */
  async instar(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      const all = [cli, '--home', this.home, '--config', this.configFile, ...args]
      execFile(process.execPath, all, { timeout: 60_000 }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
      )
    })
  }

  /** Resolves when another process has asked the controller that has this home; a moment later it has its request. */
  async isAsked(): Promise<void> {
    const connected = async () =>
      (await readFile('/proc/net/unix', 'utf8'))
        .split('\n')
        .filter((line) => line.includes(` 03 `) && line.includes(this.home))
    while ((await connected()).length === 0) await sleep(20)
    await sleep(300)
  }

  /** What is in the home that only an interrupted piece of work leaves. The journal's head is written all the time. */
  async residue(): Promise<string[]> {
    const entries = await readdir(this.home, { recursive: true, withFileTypes: true })
    return entries
      .map((entry) => join(entry.parentPath, entry.name).slice(this.home.length + 1))
      .filter((path) => !path.startsWith('journal/'))
      .filter((path) => /(^|\/)\.(staging|trash|draft)-/.test(path) || /^processes\/./.test(path))
  }

  async releaseFolders(): Promise<string[]> {
    const names = await readdir(this.releases).catch(() => [] as string[])
    return names.filter((name) => !name.startsWith('.')).sort()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const controller of this.opened) await controller.close()
    await this.registry[Symbol.asyncDispose]()
    await rm(this.directory, { recursive: true, force: true })
  }
}
