import { setImmediate as turn } from 'node:timers/promises'
import { type Forked, loadNativePty } from '../../../src/sessions/native-pty.ts'

const size = { columns: 80, rows: 24 }

/** Programs in terminals of their own, without a daemon. Ends those that have not ended. */
export class Terminals implements AsyncDisposable {
  private readonly opened: Forked[] = []

  /** Whoever opens it closes the master. */
  open([file, ...args]: readonly string[], env: Readonly<Record<string, string>> = {}): Forked {
    const all = { PATH: process.env.PATH ?? '/usr/bin:/bin', ...env }
    const forked = loadNativePty().fork(file!, args, { env: all, cwd: '', size })
    this.opened.push(forked)
    return forked
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { pid, exited } of this.opened) {
      let hasEnded = false
      exited.then(() => {
        hasEnded = true
      })
      await turn()
      try {
        if (!hasEnded) process.kill(pid, 'SIGKILL')
      } catch {
        // It is ending.
      }
      await exited
    }
  }
}
