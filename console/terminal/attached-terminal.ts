import '@xterm/xterm/css/xterm.css'
import { effect, signal } from '@preact/signals'
import { FitAddon } from '@xterm/addon-fit'
import { type ITheme, Terminal } from '@xterm/xterm'
import type { SessionInfo } from '../model/contract.ts'
import { link } from '../model/live.ts'
import { strictDocument, strictly } from './strict-document.ts'

export type Attachment =
  | 'connecting'
  | 'attached'
  /** Another daemon takes it over, or another controller comes; the program goes on. */
  | 'changing'
  | 'ended'

/** What waits to be drawn beyond this is not taken from the controller, which keeps it. */
const waitingBytesMax = 4 * 1024 * 1024
const waitingBytesLow = 256 * 1024
const inputLengthMax = 16_384
const againMs = 500
const scrollbackLines = 10_000
/** The controller stops, and another comes. */
const serviceRestart = 1012

/**
 * A terminal of the page, attached to a session by its id: no program is ever begun by it. What it has shown it need not be
 * told again: a connection that breaks is taken up at the byte where it broke.
 */
export class AttachedTerminal {
  readonly state = signal<Attachment>('connecting')
  /** How it ended. */
  readonly exit = signal<string | null>(null)
  readonly element = document.createElement('div')
  private readonly terminal: Terminal
  private readonly fit = new FitAddon()
  private socket: WebSocket | null = null
  /** The byte that has to come next; null before the first. */
  private offset: number | null = null
  private waitingBytes = 0
  /** What is older than this was answered to whoever looked at it then. */
  private readonly liveFrom: number
  private drawn = 0
  /** Where it was scrolled to when the page was reloaded, until it is there again. */
  private place: Place | null
  private timer: ReturnType<typeof setTimeout> | undefined
  private readonly ending: (() => void)[] = []

  constructor(
    readonly daemon: string,
    readonly session: SessionInfo,
  ) {
    this.liveFrom = session.offset
    this.place = placeIn(sessionStorage.getItem(this.placeKey))
    sessionStorage.removeItem(this.placeKey)
    this.terminal = new Terminal({
      documentOverride: strictDocument(),
      scrollback: scrollbackLines,
      screenReaderMode: true,
      fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace',
      fontSize: 13,
      cols: session.size.columns,
      rows: session.size.rows,
      theme: themeNow(),
    })
    this.element.className = 'terminal-host'
    this.terminal.loadAddon(this.fit)
    this.terminal.onData((input) => this.type(input))
    this.terminal.onResize(() => this.tellSize())
    const dark = matchMedia('(prefers-color-scheme: dark)')
    const recolour = () => {
      this.terminal.options.theme = themeNow()
    }
    dark.addEventListener('change', recolour)
    this.ending.push(() => dark.removeEventListener('change', recolour))
    const leave = () => this.keepPlace()
    addEventListener('pagehide', leave)
    this.ending.push(() => removeEventListener('pagehide', leave))
  }

  /** Puts it into the page, where it stays as large as its place. What it shows, and where it is scrolled to, is kept. */
  show(place: HTMLElement): () => void {
    place.append(this.element)
    if (this.terminal.element === undefined) {
      strictly(() => this.terminal.open(this.element))
      this.terminal.textarea?.addEventListener('focus', () => this.tellSize())
      this.begin()
    }
    const observer = new ResizeObserver(() => this.fit.fit())
    observer.observe(this.element)
    return () => {
      observer.disconnect()
      this.element.remove()
    }
  }

  focus(): void {
    this.terminal.focus()
  }

  /** Detaches; the program goes on. */
  dispose(): void {
    clearTimeout(this.timer)
    for (const end of this.ending) end()
    this.leave()
    this.terminal.dispose()
  }

  /** Attached whenever there is a controller: only the stream of events looks whether one is back. */
  private begin(): void {
    this.ending.push(
      effect(() => {
        if (link.value === 'live') this.attach()
      }),
    )
  }

  private attach(): void {
    clearTimeout(this.timer)
    if (this.socket !== null || this.state.peek() === 'ended') return
    const path = `/console/terminals/${encodeURIComponent(this.daemon)}/${encodeURIComponent(this.session.id)}`
    const socket = new WebSocket(`ws://${location.host}${path}${this.offset === null ? '' : `?offset=${this.offset}`}`)
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }) =>
      typeof data === 'string' ? this.hear(JSON.parse(data)) : this.take(new Uint8Array(data))
    socket.onclose = ({ code }) => {
      if (this.socket === socket) this.lose(code)
    }
    this.socket = socket
  }

  private leave(): void {
    const { socket } = this
    this.socket = null
    socket?.close()
  }

  private lose(code: number): void {
    this.socket = null
    if (this.state.peek() === 'ended') return
    this.state.value = code === serviceRestart || this.state.peek() === 'changing' ? 'changing' : 'connecting'
    this.again()
  }

  private again(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      if (link.peek() === 'live') this.attach()
    }, againMs)
  }

  private hear(told: Told): void {
    if (told.attached) {
      if (this.offset === null) this.drawn = told.attached.offset
      this.passPlace()
      this.offset = told.attached.offset
      this.state.value = 'attached'
      this.tellSize()
    }
    if (told.gap) {
      const { from, to } = told.gap
      this.offset = to
      this.drawn += to - from
      this.passPlace()
      // Of our own making, and the only thing here that no program has printed.
      if (from > 0) this.terminal.write(`\r\n\x1b[0;2m[${to - from} bytes are not kept any more]\x1b[0m\r\n`)
    }
    if (told.upgrading !== undefined) this.state.value = told.upgrading ? 'changing' : 'attached'
    if (told.exit) {
      const { code, signal: by } = told.exit
      this.end(by ? `ended by ${by}` : code === null ? 'ended' : `ended with code ${code}`)
    }
    if (told.error?.code === 'SESSION_UNKNOWN') this.end('ended a while ago')
  }

  private end(how: string): void {
    this.state.value = 'ended'
    this.exit.value = how
    this.leave()
  }

  private take(bytes: Uint8Array): void {
    const offset = this.offset ?? 0
    this.offset = offset + bytes.length
    if (this.state.peek() === 'changing') this.state.value = 'attached'
    const cut = this.place === null ? 0 : this.place.drawn - offset
    if (cut > 0 && cut < bytes.length) for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) this.draw(part)
    else this.draw(bytes)
  }

  private draw(bytes: Uint8Array): void {
    this.waitingBytes += bytes.length
    this.terminal.write(bytes, () => {
      this.drawn += bytes.length
      this.waitingBytes -= bytes.length
      this.returnToPlace()
      if (this.socket === null && this.waitingBytes <= waitingBytesLow && link.peek() === 'live') this.attach()
    })
    if (this.waitingBytes > waitingBytesMax) this.leave()
  }

  private get placeKey(): string {
    return `terminal ${this.daemon}/${this.session.id}@${this.session.createdAt}`
  }

  private keepPlace(): void {
    const { baseY, viewportY } = this.terminal.buffer.active
    const place = this.place ?? { drawn: this.drawn, linesAbove: baseY - viewportY }
    if (place.linesAbove > 0) sessionStorage.setItem(this.placeKey, JSON.stringify(place))
  }

  /** As far above the newest line as it was, when that was the newest. */
  private returnToPlace(): void {
    if (this.place === null || this.drawn < this.place.drawn) return
    this.terminal.scrollToBottom()
    this.terminal.scrollLines(-this.place.linesAbove)
    this.place = null
  }

  /** What stood there is not kept any more. */
  private passPlace(): void {
    if (this.place !== null && this.drawn > this.place.drawn) this.place = null
  }

  /** Typed, or what the emulator answers a program that asks its terminal: not again where that is long past. */
  private type(input: string): void {
    if (this.drawn >= this.liveFrom) for (const part of inParts(input)) this.send({ input: part })
  }

  private tellSize(): void {
    const { cols: columns, rows } = this.terminal
    if (this.state.peek() === 'attached') this.send({ resize: { columns, rows } })
  }

  /** Nothing from a page that only looks on. */
  private send(message: object): void {
    const hasKeyboard = document.hasFocus() && this.element.contains(document.activeElement)
    if (hasKeyboard && this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message))
  }
}

interface Place {
  /** How many bytes of the session had been drawn. */
  readonly drawn: number
  readonly linesAbove: number
}

/** Whatever is stored for a page, anybody at its address may have written. */
function placeIn(text: string | null): Place | null {
  const [drawn, linesAbove] = /^\{"drawn":(\d{1,15}),"linesAbove":(\d{1,6})\}$/.exec(text ?? '')?.slice(1) ?? []
  return drawn === undefined ? null : { drawn: Number(drawn), linesAbove: Number(linesAbove) }
}

/** What is pasted may be long; no part ends within a character. */
function inParts(input: string): string[] {
  const parts: string[] = []
  for (let at = 0; at < input.length; ) {
    const isCut = /[\ud800-\udbff]/.test(input[at + inputLengthMax - 1] ?? '')
    const end = at + inputLengthMax - (isCut ? 1 : 0)
    parts.push(input.slice(at, end))
    at = end
  }
  return parts
}

interface Told {
  readonly attached?: { readonly offset: number }
  readonly gap?: { readonly from: number; readonly to: number }
  readonly exit?: { readonly code: number | null; readonly signal: string | null }
  readonly upgrading?: boolean
  readonly error?: { readonly code?: string }
}

function themeNow(): ITheme {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(name).trim()
  return {
    background: colour('--terminal'),
    foreground: colour('--terminal-ink'),
    cursor: colour('--terminal-ink'),
    selectionBackground: colour('--terminal-chosen'),
  }
}
