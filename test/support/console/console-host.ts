import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { onTestFinished } from 'vitest'
import { appCode } from '../apps/app-code.ts'
import type { WatchedPage } from '../browser.ts'
import { Host } from '../host.ts'
import { type Started, start } from '../instar.ts'

const titles: Readonly<Record<string, string>> = {
  overview: 'Overview',
  charts: 'Statecharts',
  journal: 'Journal',
  runtime: 'Runtime',
  plugins: 'Plugins',
  apps: 'Apps',
  terminals: 'Terminals',
}

/** A host whose console people visit, served by the built command line. All of it ends with the test. */
export class ConsoleHost {
  private constructor(
    readonly host: Host,
    readonly port: number,
  ) {}

  /** @param runtime More of the runtime's configuration. */
  static async make(runtime: object = {}): Promise<ConsoleHost> {
    const host = await Host.make({ runtime })
    onTestFinished(async () => {
      await host.instar('daemon', 'stop', '--yes')
      await host[Symbol.asyncDispose]()
    })
    host.publish('2.0.0')
    const port = await freePort()
    await writeFile(host.configFile, JSON.stringify({ ...host.rawConfig(), console: { port } }))
    return new ConsoleHost(host, port)
  }

  /** `instar up`, until the test has ended. */
  async up(): Promise<Started> {
    const started = start(['--home', this.host.home, '--config', this.host.configFile, 'up'])
    await started.says(`:${this.port}`)
    onTestFinished(async () => {
      started.child.kill('SIGTERM')
      await started.ended
    })
    return started
  }

  async token(): Promise<string> {
    return (await readFile(join(this.host.home, 'console.token'), 'utf8')).trim()
  }

  /** The console's address, with a token that opens it. */
  linkWith(token: string): string {
    return `http://127.0.0.1:${this.port}/#token=${token}`
  }

  async enter({ page }: WatchedPage, path = 'overview'): Promise<Page> {
    await page.goto(this.linkWith(await this.token()))
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
    await page.getByText('Live', { exact: true }).waitFor()
    if (path !== 'overview') await visit(page, path)
    return page
  }

  /** What the command line answers, which has to succeed. */
  async asked(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.host.instar(...args)
    if (code !== 0) throw new Error(`instar ${args.join(' ')}: ${code} ${stdout} ${stderr}`)
    return stdout
  }

  publishApp(version: string): void {
    this.host.registry.publish('notes', version, { 'index.mjs': appCode(version) }, { bin: 'index.mjs' })
  }

  /** An app in some workspaces. */
  async furnish(workspaces: readonly string[]): Promise<void> {
    this.publishApp('1.0.0')
    for (const workspace of workspaces) {
      await this.asked('workspace', 'add', workspace)
      await this.asked('app', 'install', 'notes', '--workspace', workspace)
    }
  }

  /** A session that goes on by itself; what it is told is run by a shell. */
  async session(script: string, id = 'work'): Promise<void> {
    await this.asked('session', 'open', '--id', id, '--', 'sh', '-c', script)
  }
}

export async function visit(page: Page, path: string): Promise<void> {
  await page.evaluate((hash) => {
    location.hash = hash
  }, `#/${path}`)
  await page.getByRole('heading', { level: 1, name: titles[path.split(/[/?]/)[0]!]! }).waitFor()
}

/** Of the journal's list. */
export const rowsOf = (page: Page, name: RegExp, more: { selected?: boolean } = {}) =>
  page.getByRole('listbox', { name: 'Records' }).getByRole('option', { name, ...more })

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port: free } = server.address() as { port: number }
  server.close()
  return free
}
