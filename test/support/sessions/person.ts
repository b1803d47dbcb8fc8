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

/** Runs the command with its pid said first, then says its code and the modes of the terminal, and waits for Return. */
const script = `
bash --norc -c 'echo "<pid $$>"; exec "$@"' bash "$@"
code=$?
echo "<code $code>"
echo "<stty $(stty -a | tr '\\n' ' ')>"
read -r _
`

/**
 * Somebody in front of a terminal in which one command runs, under a shell that goes on after it: types, reads the
 * screen, and sees in which condition the command leaves the terminal. What still runs after the test is hung up.
 */
export class Person {
  /** Everything that came to the terminal, byte for byte. */
  said = ''

  private readonly terminal: pty.IPty
  private readonly display: InstanceType<typeof headless.Terminal>
  private readonly modes = new TerminalModes()
  private isGone = false

  constructor(command: readonly string[], { columns = 80, rows = 24, env = {} }: Options = {}) {
    const all = { ...(process.env as Record<string, string>), ...env }
    const options = { cols: columns, rows, env: all, encoding: null }
    this.terminal = pty.spawn('bash', ['--norc', '-c', script, 'bash', ...command], options)
    this.display = new headless.Terminal({ cols: columns, rows, allowProposedApi: true })
    this.terminal.onData((data) => {
      const bytes = Buffer.from(data)
      this.said += bytes.toString('latin1')
      this.modes.watch(bytes)
      this.display.write(bytes)
    })
    this.terminal.onExit(() => {
      this.isGone = true
    })
    onTestFinished(() => this.leave())
  }

  types(text: string | Buffer): void {
    this.terminal.write(text)
  }

  resizes(columns: number, rows: number): void {
    this.terminal.resize(columns, rows)
    this.display.resize(columns, rows)
  }

  /** The rows that are on the screen now. */
  get screen(): string {
    const { active } = this.display.buffer
    const lines = Array.from({ length: this.display.rows }, (_, row) => active.getLine(active.baseY + row))
    return lines.map((line) => line!.translateToString(true)).join('\n')
  }

  /** Resolves once the screen shows it. */
  async sees(text: string | RegExp): Promise<void> {
    const seen = () => (typeof text === 'string' ? this.screen.includes(text) : text.test(this.screen))
    await eventually(seen, `"${text}"`).catch((cause) => {
      throw new Error(`"${text}" never came on the screen, which shows\n${this.screen.trimEnd()}`, { cause })
    })
  }

  /** Of the command itself. */
  async pid(): Promise<number> {
    return Number(await this.told(/<pid (\d+)>/))
  }

  /** Resolves when the command has ended: with its code, and with what is wrong with the terminal that it left behind. */
  async ended(): Promise<{ code: number; leftOn: string[] }> {
    const code = Number(await this.told(/<code (\d+)>/))
    const stty = ` ${await this.told(/<stty (.*?) >\r/s)}`
    const cooked = ['icanon', 'isig', 'echo', 'icrnl', 'opost', 'ixon'].filter((flag) => !stty.includes(` ${flag}`))
    const { undoing, isAlternate } = this.modes
    return {
      code,
      leftOn: [
        ...cooked.map((flag) => `-${flag}`),
        ...(isAlternate ? ['alternate screen'] : []),
        ...(undoing === new TerminalModes().undoing ? [] : [undoing]),
      ],
    }
  }

  private async told(what: RegExp): Promise<string> {
    await eventually(() => what.test(this.said), String(what)).catch((cause) => {
      throw new Error(`${what} was never said, but ${JSON.stringify(this.said.slice(-2000))}`, { cause })
    })
    return what.exec(this.said)![1]!
  }

  /** Closes the window, as if the terminal were gone. */
  async leave(): Promise<void> {
    if (this.isGone) return
    this.terminal.kill('SIGHUP')
    await eventually(() => this.isGone, 'the end of the shell in the terminal')
  }
}
