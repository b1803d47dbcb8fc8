import type { Session } from './client.ts'
import { historyOf } from './history.ts'
import type { Size } from './protocol.ts'
import { TerminalModes } from './terminal-modes.ts'

/** What a terminal of some size shows. */
export interface Screen {
  readonly size: Size
  /** The rows as plain text, one line each, without blanks at their ends. */
  readonly text: string
  /** What draws it in a terminal of this size whose cursor is at the top left of an empty screen, with all modes. */
  readonly ansi: string
  /** From 0. */
  readonly cursor: { readonly column: number; readonly row: number; readonly isVisible: boolean }
  /**
   * False where the oldest output is gone: what was printed then and not again since is missing, until the program
   * draws itself anew.
   */
  readonly isComplete: boolean
}

export interface RenderOptions {
  /** The offset of the first byte. Default: 0. */
  readonly from?: number
  /** Draws for a terminal of another size than the program has printed for. */
  readonly shownAs?: Size
}

/**
 * The screen that `output` has left behind in a terminal of `size`. Nothing is kept of it, and nothing of it answers the
 * questions that a program asks its terminal. The terminal is loaded by the first call.
 */
export async function renderScreen(
  output: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  size: Size,
  { from = 0, shownAs = size }: RenderOptions = {},
): Promise<Screen> {
  const { Terminal, SerializeAddon } = await loadTerminal()
  const terminal = new Terminal({ cols: size.columns, rows: size.rows, allowProposedApi: true })
  const serializer = new SerializeAddon()
  terminal.loadAddon(serializer)
  const modes = new TerminalModes()
  // The terminal's own decoder loses the joiner of an emoji whose bytes come in two pieces.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  try {
    let isReadable = from === 0
    for await (const bytes of output instanceof Uint8Array ? [output] : output) {
      const readable = isReadable ? bytes : afterCut(bytes)
      isReadable ||= readable.length > 0
      modes.watch(readable)
      await new Promise<void>((resolve) => terminal.write(decoder.decode(readable, { stream: true }), resolve))
    }
    // Lines that have scrolled away come back where the other size has room for them, as in any terminal.
    terminal.resize(shownAs.columns, shownAs.rows)
    const { active } = terminal.buffer
    const lines = Array.from({ length: shownAs.rows }, (_, row) => active.getLine(active.baseY + row))
    const cursor = { column: active.cursorX, row: active.cursorY, isVisible: modes.isCursorVisible }
    const drawing = serializer.serialize({ scrollback: 0, excludeModes: true })
    return {
      size: shownAs,
      text: lines.map((line) => line?.translateToString(true).trimEnd() ?? '').join('\n'),
      ansi: `${drawing}${modes.doing}\x1b[${cursor.row + 1};${cursor.column + 1}H`,
      cursor,
      isComplete: from === 0,
    }
  } finally {
    terminal.dispose()
  }
}

/**
 * What a session showed when the daemon was asked for it, made of what can still be had of its output: for one who comes
 * late, and then follows from `session.info.offset`.
 *
 * @throws {InstarError} `SESSION_ATTACHED` while its client has another output of it, and what an output fails with.
 */
export async function screenOf(session: Session): Promise<Screen> {
  const { pieces, from } = await historyOf(session)
  return renderScreen(pieces, session.info.size, { from })
}

/** Output that begins anywhere may begin within a character or a sequence: what is before the next line or sequence is not readable. */
function afterCut(bytes: Uint8Array): Uint8Array {
  const at = bytes.findIndex((byte) => byte === 0x0a || byte === 0x1b)
  return at === -1 ? bytes.subarray(bytes.length) : bytes.subarray(at)
}

type TerminalModule = typeof import('@xterm/headless')
type SerializeModule = typeof import('@xterm/addon-serialize')

/** Loaded by the first who asks. Both are CommonJS, whose names one Node finds and another loader puts under `default`. */
async function loadTerminal(): Promise<Pick<TerminalModule & SerializeModule, 'Terminal' | 'SerializeAddon'>> {
  const [terminal, serialize] = await Promise.all([import('@xterm/headless'), import('@xterm/addon-serialize')])
  const inner = <Module>(module: Module): Module => (module as { default?: Module }).default ?? module
  return { Terminal: inner(terminal).Terminal, SerializeAddon: inner(serialize).SerializeAddon }
}
