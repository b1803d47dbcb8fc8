import headless from '@xterm/headless'
import { expect, test } from 'vitest'
import { renderScreen } from '../../src/sessions/screen.ts'

const size = { columns: 20, rows: 5 }
const bytes = (text: string) => new TextEncoder().encode(text)

/** What a terminal shows that was given `text`. */
async function shown(text: string, { columns, rows } = size) {
  const terminal = new headless.Terminal({ cols: columns, rows, allowProposedApi: true })
  await new Promise<void>((resolve) => terminal.write(text, resolve))
  const { active } = terminal.buffer
  const lines = Array.from({ length: rows }, (_, row) => active.getLine(active.baseY + row)!)
  const cells = lines.map((line) =>
    Array.from({ length: columns }, (_, column) => {
      const cell = line.getCell(column)!
      return [cell.getChars() || ' ', cell.getFgColor(), cell.getBgColor(), cell.isBold(), cell.isInverse()].join()
    }),
  )
  const { modes } = terminal
  return { cells, cursor: [active.cursorX, active.cursorY], type: active.type, modes }
}

const programs: [name: string, output: string][] = [
  ['lines that scroll', Array.from({ length: 30 }, (_, n) => `line ${n}\r\n`).join('')],
  ['colours and a prompt', 'plain \x1b[1;31mred\x1b[0m \x1b[48;5;21mblue\x1b[0m\r\n\x1b[7minverse\x1b[0m $ '],
  ['wide characters and combined ones', '漢字 👩‍🚀 é\r\n'],
  ['a line longer than the screen', `${'abcdefghij'.repeat(5)}$`],
  ['a full screen', '$ vi\r\n\x1b[?1049h\x1b[2J\x1b[H\x1b[?25l~\r\n~\r\n\x1b[5;1H\x1b[7mfile\x1b[0m\x1b[2;3H'],
  ['a mouse and pasted brackets', '\x1b[?1002;1006h\x1b[?2004h\x1b[?1h\x1b=menu\x1b[3;4H'],
  ['a scroll region', '\x1b[2;4rtop\x1b[4;1Ha\r\nb\r\nc\x1b[2;2H'],
]

test.each(programs)('what is drawn for a late attacher looks like the screen itself: %s', async (_, output) => {
  const { ansi, cursor } = await renderScreen(bytes(output), size)
  const original = await shown(output)
  expect(await shown(ansi)).toEqual(original)
  expect([cursor.column, cursor.row]).toEqual(original.cursor)
})

test.each(programs)('however its output is cut into pieces: %s', async (_, output) => {
  const whole = await renderScreen(bytes(output), size)
  const pieces = [...bytes(output)].map((byte) => Uint8Array.of(byte))
  expect(await renderScreen(pieces, size)).toEqual(whole)
})

test('the text is the rows that are seen, and the cursor says whether it is', async () => {
  const { text, cursor } = await renderScreen(bytes('one\r\n\x1b[32mtwo\x1b[0m   \r\n\x1b[?25lthree'), size)
  expect(text).toBe('one\ntwo\nthree\n\n')
  expect(cursor).toEqual({ column: 5, row: 2, isVisible: false })
})

test('what a program has left on in the terminal is on in the drawing, and what it has turned off is not', async () => {
  const { ansi } = await renderScreen(bytes('\x1b[?1000h\x1b[?1006h\x1b[?1004h\x1b[?1000l\x1b[5 q'), size)
  expect(ansi).toContain('\x1b[?1006h')
  expect(ansi).toContain('\x1b[?1004h')
  expect(ansi).toContain('\x1b[5 q')
  expect(ansi).not.toContain('1000')
})

test('questions that the program asked its terminal are not asked again', async () => {
  const { ansi } = await renderScreen(bytes('\x1b[c\x1b[6n\x1b]11;?\x07\x1bP+q544e\x1b\\\x1b[?u ready'), size)
  expect((await renderScreen(bytes(ansi), size)).text).toMatch(/^ ready/)
  for (const question of ['\x1b[c', '\x1b[6n', '\x1b]', '\x1bP', '\x1b[?u']) expect(ansi).not.toContain(question)
})

test('output whose beginning is gone is drawn from the next line or sequence on, and says that it may not be whole', async () => {
  const cut = bytes('31mgarbage\r\nkept\r\n')
  const { text, isComplete } = await renderScreen(cut, size, { from: 4096 })
  expect(text.trim()).toBe('kept')
  expect(isComplete).toBe(false)
  expect((await renderScreen(cut, size)).isComplete).toBe(true)
})

test('a cut within a character leaves nothing of it', async () => {
  const { text } = await renderScreen([bytes('漢').subarray(1), bytes('字\x1b[2;1Hx')], size, { from: 1 })
  expect(text).toBe('\nx\n\n\n')
})

test('for a larger terminal the lines that had scrolled away come back', async () => {
  const output = bytes(Array.from({ length: 8 }, (_, n) => `line ${n}`).join('\r\n'))
  const { text, ansi } = await renderScreen(output, size, { shownAs: { columns: 20, rows: 8 } })
  expect(text.split('\n')[0]).toBe('line 0')
  expect((await shown(ansi, { columns: 20, rows: 8 })).cursor).toEqual([6, 7])
})
