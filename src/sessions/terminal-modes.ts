const esc = 0x1b
const bel = 0x07
const can = 0x18
const sub = 0x1a
const sequenceBytesMax = 256

/** Private modes that are off in a fresh terminal, and that a program leaves on at the cost of whoever comes after it. */
const offAtFirst = new Set([
  ...[1, 5, 45, 66, 69], // cursor keys, reverse video, reverse wrap, keypad, left and right margins
  ...[9, 1000, 1001, 1002, 1003, 1005, 1006, 1015, 1016], // the mouse
  ...[1004, 2004, 2026, 2031, 2048], // focus, bracketed paste, synchronized output, colour scheme, size reports
])
const onAtFirst = new Set([7, 25]) // wrap at the margin, the cursor
const alternateScreens = new Set([47, 1047, 1049])

/** What the protocol of kitty sets, and how often it was pushed on a stack, which each of the two screens has of its own. */
interface Keyboard {
  depth: number
  flags: string | undefined
}

/**
 * What the bytes written to a terminal have switched on in it: enough to put it back as it was, or another one in the
 * same condition. Follows them byte by byte, so that they may be cut anywhere.
 */
export class TerminalModes {
  /** The private modes that differ from a fresh terminal's. */
  private readonly changed = new Map<number, boolean>()
  private alternate: number | undefined
  private readonly keyboards: { readonly normal: Keyboard; readonly alternate: Keyboard } = {
    normal: { depth: 0, flags: undefined },
    alternate: { depth: 0, flags: undefined },
  }
  private otherKeys: string | undefined
  private cursorStyle: string | undefined
  private margins: string | undefined
  private charset = 'B'
  private isKeypad = false
  private isInsert = false
  private state: 'ground' | 'sequence' | 'string' | 'string end' = 'ground'
  private sequence = ''

  get isAlternate(): boolean {
    return this.alternate !== undefined
  }

  get isCursorVisible(): boolean {
    return !this.changed.has(25)
  }

  watch(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      if (this.state === 'ground') {
        at = bytes.indexOf(esc, at)
        if (at === -1) return
        this.begin()
      } else this.step(bytes[at]!)
    }
  }

  private begin(): void {
    this.state = 'sequence'
    this.sequence = ''
  }

  private step(byte: number): void {
    const isAbandoned = byte === can || byte === sub || this.sequence.length >= sequenceBytesMax
    if (this.state !== 'sequence') this.stepInString(byte)
    else if (byte === esc) this.begin()
    else if (isAbandoned) this.state = 'ground'
    // Other control characters take effect within a sequence, and do not belong to it.
    else if (byte >= 0x20 && byte !== 0x7f) this.stepInSequence(byte)
  }

  private stepInSequence(byte: number): void {
    this.sequence += String.fromCharCode(byte)
    const isControl = this.sequence.startsWith('[')
    if (!isControl && this.sequence.length === 1 && 'P]X^_'.includes(this.sequence)) {
      this.state = 'string'
      return
    }
    const isLast = isControl ? this.sequence.length > 1 && byte >= 0x40 : byte >= 0x30
    if (!isLast) return
    this.state = 'ground'
    if (isControl) this.control(this.sequence.slice(1, -1), this.sequence.at(-1)!)
    else this.short(this.sequence)
  }

  /** A title, a colour, an image: over at BEL or ESC \, and of no account here. */
  private stepInString(byte: number): void {
    if (this.state === 'string end' && byte !== 0x5c) {
      this.begin()
      this.step(byte)
    } else if (this.state === 'string end' || byte === bel || byte === can || byte === sub) this.state = 'ground'
    else if (byte === esc) this.state = 'string end'
  }

  private short(sequence: string): void {
    if (sequence === 'c') this.reset()
    else if (sequence === '=') this.isKeypad = true
    else if (sequence === '>') this.isKeypad = false
    else if (sequence.startsWith('(')) this.charset = sequence.slice(1)
  }

  private control(parameters: string, final: string): void {
    if (final === 'h' || final === 'l') this.setModes(parameters, final === 'h')
    else if (final === 'u') this.setKeyboard(parameters)
    else if (final === 'm' && parameters.startsWith('>4')) this.otherKeys = parameters
    else if (final === 'q' && parameters.endsWith(' ')) this.cursorStyle = parameters
    else if (final === 'r' && /^[\d;]*$/.test(parameters)) this.margins = /\d/.test(parameters) ? parameters : undefined
    else if (final === 'p' && parameters === '!') this.softReset()
  }

  private setModes(parameters: string, isSet: boolean): void {
    if (parameters === '4') this.isInsert = isSet
    if (!parameters.startsWith('?')) return
    for (const mode of parameters.slice(1).split(';').map(Number)) {
      // Of the modes of a mouse the last one counts, so the order in which they were set is kept.
      this.changed.delete(mode)
      if (alternateScreens.has(mode)) this.alternate = isSet ? mode : undefined
      else if ((offAtFirst.has(mode) && isSet) || (onAtFirst.has(mode) && !isSet)) this.changed.set(mode, isSet)
    }
  }

  private setKeyboard(parameters: string): void {
    const keyboard = this.keyboard
    const rest = parameters.slice(1)
    if (parameters.startsWith('>')) keyboard.depth++
    else if (parameters.startsWith('<')) {
      keyboard.depth = Math.max(0, keyboard.depth - (Number(rest) || 1))
      if (keyboard.depth === 0) keyboard.flags = undefined
      return
    } else if (!parameters.startsWith('=')) return
    keyboard.flags = rest
  }

  private get keyboard(): Keyboard {
    return this.isAlternate ? this.keyboards.alternate : this.keyboards.normal
  }

  private softReset(): void {
    for (const mode of [1, 7, 25]) this.changed.delete(mode)
    this.margins = undefined
    this.charset = 'B'
    this.isKeypad = false
    this.isInsert = false
  }

  private reset(): void {
    this.softReset()
    this.changed.clear()
    this.alternate = undefined
    for (const keyboard of Object.values(this.keyboards)) Object.assign(keyboard, { depth: 0, flags: undefined })
    this.otherKeys = undefined
    this.cursorStyle = undefined
  }

  /**
   * What brings a fresh terminal that shows the same screen into this condition. Begins with what moves the cursor, which
   * is to be placed afterwards; the alternate screen is left to whoever draws it.
   */
  get doing(): string {
    return [
      this.margins && `\x1b[${this.margins}r`,
      ...[...this.changed].map(([mode, isSet]) => `\x1b[?${mode}${isSet ? 'h' : 'l'}`),
      this.isInsert && '\x1b[4h',
      this.isKeypad && '\x1b=',
      this.charset !== 'B' && `\x1b(${this.charset}`,
      this.otherKeys && `\x1b[${this.otherKeys}m`,
      this.cursorStyle && `\x1b[${this.cursorStyle}q`,
      this.keyboard.flags !== undefined && `\x1b[${this.keyboard.depth > 0 ? '>' : '='}${this.keyboard.flags}u`,
    ]
      .filter(Boolean)
      .join('')
  }

  /** What ends a sequence that was cut off, so that it does not swallow what comes next. */
  get cancelling(): string {
    return this.state === 'ground' ? '' : '\x18'
  }

  /** What puts the terminal back: every mode as in a fresh one, the normal screen, no colours. */
  get undoing(): string {
    return [
      this.cancelling,
      ...[...this.changed].map(([mode, isSet]) => `\x1b[?${mode}${isSet ? 'l' : 'h'}`),
      this.isInsert && '\x1b[4l',
      this.isKeypad && '\x1b>',
      this.otherKeys && '\x1b[>4m',
      this.cursorStyle && '\x1b[0 q',
      this.margins && '\x1b7\x1b[r\x1b8',
      this.isAlternate && `${undoingOf(this.keyboards.alternate)}\x1b[?${this.alternate}l`,
      undoingOf(this.keyboards.normal),
      '\x1b(B\x0f\x1b[0m',
    ]
      .filter(Boolean)
      .join('')
  }
}

function undoingOf({ depth, flags }: Keyboard): string {
  if (depth > 0) return `\x1b[<${depth}u`
  return flags === undefined ? '' : '\x1b[=0u'
}
