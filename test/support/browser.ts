import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { onTestFinished } from 'vitest'
import { systemProgram } from './system-program.ts'

const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** The system's Chromium, installed where it is missing. */
export async function openBrowser(): Promise<Browser> {
  const executablePath = await systemProgram('chromium')
  // As root it has no sandbox of its own; it loads nothing but the page under test.
  return chromium.launch({ executablePath, args: ['--no-sandbox'] })
}

export interface Look {
  readonly scheme?: 'light' | 'dark'
  readonly width?: number
}

/** A page of a browser that nothing else shares a cookie with, and what went wrong in it. */
export class WatchedPage {
  /** What the browser's console said of errors. */
  readonly errors: string[] = []

  private constructor(
    readonly page: Page,
    readonly context: BrowserContext,
  ) {
    this.watch(page)
  }

  static async open(browser: Browser, { scheme = 'light', width = 1280 }: Look = {}): Promise<WatchedPage> {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } })
    onTestFinished(() => context.close())
    return new WatchedPage(await context.newPage(), context)
  }

  /** What someone who cannot see it, or only just, would stumble over. */
  async barriers(): Promise<string[]> {
    await this.page.evaluate(await readFile(axePath, 'utf8'))
    return this.page.evaluate(async () => {
      const { violations } = await (globalThis as any).axe.run()
      return violations.map(
        ({ id, nodes }: any) =>
          `${id}: ${nodes.map(({ html, any: [why] }: any) => `${html} ${why?.message}`).join('\n')}`,
      )
    })
  }

  private watch(page: Page): void {
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.errors.push(message.text())
    })
    page.on('pageerror', (error) => this.errors.push(String(error)))
  }
}
