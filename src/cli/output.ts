import { once } from 'node:events'
import { styleText } from 'node:util'
import { errorRecord, InstarError } from '../errors.ts'
import { printable } from '../printable.ts'
import { ProgressLine, type ProgressShown } from './progress-line.ts'

export interface Globals {
  readonly tokenFile?: string
  readonly home?: string
  readonly config?: string
  readonly json?: boolean
  readonly quiet?: boolean
  readonly verbose?: boolean
  readonly color: boolean
}

type Style = Parameters<typeof styleText>[0]

/** The version of every `--json` document. */
const schema = 1

/**
 * What a command says. Results go to stdout, everything else to stderr. With `--json` a read command prints one document;
 * a long operation prints `progress` lines and ends with one `result` line, all on stdout; an error is one `error` line on
 * stderr.
 */
export class Output {
  readonly json: boolean
  readonly quiet: boolean
  readonly verbose: boolean
  /** True once nobody reads stdout any more. */
  closed = false
  private readonly color: boolean
  private readonly line: ProgressLine

  constructor(
    { json = false, quiet = false, verbose = false, color }: Globals,
    private readonly stdout: NodeJS.WriteStream = process.stdout,
    private readonly stderr: NodeJS.WriteStream = process.stderr,
  ) {
    this.json = json
    this.quiet = quiet
    this.verbose = verbose && !quiet
    this.color = color
    this.line = new ProgressLine(stderr)
    for (const stream of [stdout, stderr])
      stream.on('error', (error: NodeJS.ErrnoException) => this.lost(stream, error))
  }

  /** The one answer of a command that only looks. */
  async document(document: object, human: () => string): Promise<void> {
    if (this.json) await this.print(`${JSON.stringify({ schema, ...document })}\n`)
    else await this.print(human())
  }

  /** The end of a long operation. */
  async result(result: object, human: () => string): Promise<void> {
    this.line.clear()
    if (this.json) await this.print(`${JSON.stringify({ type: 'result', schema, ...result })}\n`)
    else await this.print(human())
  }

  /** Something that a long operation has reached: a line of its stream, and a result in itself for a person. */
  async reached(event: object, human: () => string): Promise<void> {
    this.line.clear()
    if (this.json) await this.print(`${JSON.stringify({ type: 'progress', ...event })}\n`)
    else await this.print(human())
  }

  /** How far a long operation has come. */
  progress(about: string, data: unknown): void {
    const shown: ProgressShown | undefined = this.line.take(about, data)
    if (shown === undefined) return
    if (this.json) void this.print(`${JSON.stringify({ type: 'progress', ...shown.data })}\n`)
    else if (this.quiet) return
    else if (this.stderr.isTTY) this.line.draw()
    else if (shown.isNewPhase) this.say('', shown.text)
  }

  /** Text or bytes for stdout as they are; resolves when they were taken, so that a slow reader is waited for. */
  async print(text: string | Uint8Array): Promise<void> {
    if (this.closed || text.length === 0) return
    if (this.stdout.write(text)) return
    await Promise.race([once(this.stdout, 'drain'), once(this.stdout, 'close')]).catch(() => {}) // `lost` has seen it
  }

  /** For a person only; a program has the result. */
  note(text: string): void {
    if (!this.quiet && !this.json) this.say('', text)
  }

  detail(text: string): void {
    if (this.verbose && !this.json) this.say('', text, 'dim')
  }

  warn(text: string, details?: object): void {
    if (this.json)
      this.stderr.write(`${JSON.stringify({ type: 'warning', message: text, ...(details && { details }) })}\n`)
    else if (!this.quiet) this.say(this.paint('yellow', 'warning: '), text)
  }

  error(error: unknown): void {
    const { message, code = 'INTERNAL', hint, name, details } = errorRecord(error)
    if (this.json) {
      const line = { type: 'error', code, message, ...(hint && { hint }), ...(details && { details }) }
      this.stderr.write(`${JSON.stringify(line)}\n`)
      return
    }
    const said = error instanceof InstarError ? message : `${name}: ${message}`
    this.say(this.paint('red', 'error: '), `${said} [${code}]`)
    if (hint) this.say(this.paint('cyan', 'hint: '), hint)
    if (this.verbose && error instanceof Error && error.stack) this.say('', error.stack, 'dim')
  }

  private say(label: string, text: string, style?: Style): void {
    this.line.clear()
    const plain = printable(text)
    this.stderr.write(`${label}${style === undefined ? plain : this.paint(style, plain)}\n`)
  }

  private paint(style: Style, text: string): string {
    const isWanted = this.color && this.stderr.isTTY && !process.env.NO_COLOR
    return isWanted ? styleText(style, text, { validateStream: false }) : text
  }

  private lost(stream: NodeJS.WriteStream, error: NodeJS.ErrnoException): void {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error
    if (stream === this.stdout) this.closed = true
  }
}
