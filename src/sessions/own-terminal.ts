import type { ReadStream, WriteStream } from 'node:tty'
import type { Size } from './protocol.ts'
import { TerminalModes } from './terminal-modes.ts'

/**
 * The terminal of this process, lent to a session: every key goes to the program, Ctrl-C and Ctrl-Z too. Put back by
 * `restore`, and where nobody comes to call it, when the process ends.
 */
export class OwnTerminal {
  private readonly modes = new TerminalModes()
  private isAtLineStart = true
  private isLent = true
  private readonly restoreAtExit = () => this.restore()

  constructor(
    private readonly input: ReadStream,
    private readonly output: WriteStream,
  ) {
    process.on('exit', this.restoreAtExit)
    input.setRawMode(true)
  }

  /** Undefined where nobody has told the terminal how large it is. */
  get size(): Size | undefined {
    const { columns, rows } = this.output
    return columns > 0 && rows > 0 ? { columns, rows } : undefined
  }

  /** True while a program that fills the screen draws it. */
  get isAlternate(): boolean {
    return this.modes.isAlternate
  }

  /** Resolves when more can be taken. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.isLent || bytes.length === 0) return
    this.modes.watch(bytes)
    this.isAtLineStart = bytes.at(-1) === 0x0a
    if (this.output.write(bytes)) return
    await new Promise<void>((resolve) => {
      const settle = () => {
        this.output.off('drain', settle).off('close', settle)
        resolve()
      }
      this.output.once('drain', settle).once('close', settle)
    })
  }

  /** Empties the screen. What it shows goes where lines go that scroll away, so that it can still be looked up. */
  async clear(): Promise<void> {
    await this.write(Buffer.from(`\r${'\n'.repeat(this.size?.rows ?? 24)}\x1b[H\x1b[2J`))
  }

  /** A line of our own among those of the program. */
  async say(text: string): Promise<void> {
    await this.write(Buffer.from(`${this.modes.cancelling}${this.isAtLineStart ? '' : '\r\n'}[${text}]\r\n`))
  }

  /** Takes the terminal again after a shell has had it while this process was stopped. */
  takeAgain(): void {
    // What is believed to be raw already would not be made so.
    this.input.setRawMode(false)
    this.input.setRawMode(true)
  }

  /** Safe to call twice, and in an `exit` handler: a terminal is written to at once. */
  restore(): void {
    if (!this.isLent) return
    this.isLent = false
    process.off('exit', this.restoreAtExit)
    const isOnNewLine = this.isAtLineStart || this.modes.isAlternate
    if (this.output.writable) this.output.write(`${this.modes.undoing}${isOnNewLine ? '' : '\r\n\x1b[J'}`)
    try {
      this.input.setRawMode(false)
    } catch {
      // It has been closed on us; there is nothing to put back.
    }
    this.input.pause()
  }
}
