import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Child } from '../../../machines/runtime-launch.ts'
import { type ChildSpec, familyOf, startChild, stopChild } from '../../../src/runtime/child.ts'
import { freePort } from '../../../src/runtime/ports.ts'

export const runtimeFile = fileURLToPath(new URL('runtime.mjs', import.meta.url))

/** A folder for one test and every child that it starts there; both are gone when the test is. */
export class Trial implements AsyncDisposable {
  private readonly children: Child[] = []

  private constructor(readonly folder: string) {}

  static async begin(): Promise<Trial> {
    return new Trial(await mkdtemp(join(tmpdir(), 'instar-runtime-')))
  }

  get records(): string {
    return join(this.folder, 'records')
  }

  /** What a start of the runtime for tests takes; `PORT` in a step stands for a free one. */
  async spec(steps: readonly string[], more: Partial<ChildSpec> = {}): Promise<ChildSpec> {
    const port = more.port ?? (await freePort())
    return {
      key: `key-${this.children.length}`,
      recordDirectory: this.records,
      executable: process.execPath,
      args: [runtimeFile, ...steps.map((step) => step.replace('PORT', String(port)))],
      cwd: this.folder,
      ...more,
      port,
    }
  }

  async start(steps: readonly string[], more: Partial<ChildSpec> = {}): Promise<Child> {
    const { child } = await startChild(await this.spec(steps, more))
    this.keep(child)
    return child
  }

  /** Ends this child too when the test is over. */
  keep(child: Child): void {
    this.children.push(child)
  }

  async leftovers(): Promise<string[]> {
    return readdir(this.records).catch(() => [])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.children) {
      await stopChild(child, { graceMs: 0, everything: true })
      if ((await familyOf(child, true)).length > 0) throw new Error(`${child.key} was left behind`)
    }
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** Looks until it holds. */
export async function eventually<T>(look: () => T | Promise<T>, withinMs = 10_000): Promise<NonNullable<T>> {
  for (const deadline = performance.now() + withinMs; ; ) {
    const found = await look()
    if (found) return found
    if (performance.now() > deadline) throw new Error(`it did not come to hold: ${look}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
