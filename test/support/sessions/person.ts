import { once } from 'node:events'
import headless from '@xterm/headless'
import pty from 'node-pty'
import { onTestFinished } from 'vitest'
import { TerminalModes } from '../../../src/sessions/terminal-modes.ts'
import { eventually } from './eventually.ts'

interface Options {
  readonly columns?: number
  readonly rows?: number
  readonly env?: Readonly<Record<string, string>>
}

/**
 * Somebody in front of a terminal in which one command runs, under a shell that goes on after it: types, reads the
 * screen, and sees in which condition the command leaves the terminal. What still runs after the test is hung up.
 */
export class Person {
  /** Everything that came to the terminal. */
  said = ''
  /** How the command ended; null while it runs. */
  code: number | null = null

  private readonly terminal: pty.IPty
  private readonly screen: InstanceType<typeof headless.Terminal>
  private readonly modes = new TerminalModes()
  private hasEnded = false

  constructor(command: readonly string[], { columns = 80, rows = 24, env = {} }: Options = {}) {
    // `stty` reads the modes of the terminal itself, which the screen does not show.
    const after = 'code=$?; exec 2>&1; echo "<pid $pid> <code $code> <$(stty -a | tr "\\n" " ")>"; read -r _'
    const script = `"$@" <&0 & pid=$!; echo "<pid $pid>"; fg >/dev/null; ${after}`
    const args = ['--norc', '-m', '-c', script, 'bash', ...command]
    const all = { ...(process.env as Record<string, string>), ...env }
    this.terminal = pty.spawn('bash', args, { cols: columns, rows, env: all, encoding: null })
    this.screen = new headless.Terminal({ cols: columns, rows, allowProposedApi: true })
    this.terminal.onData((data) => {
      const bytes = Buffer.from(data as string | Buffer)
      this.said += bytes.toString('latin1')
      this.modes.watch(bytes)
      this.screen.write(bytes)
    })
    this.terminal.onExit(() => {
      this.hasEnded = true
    })
    onTestFinished(() => this.leave())
  }
}
