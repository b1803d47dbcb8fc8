import fc from 'fast-check'
import { expect, test } from 'vitest'
import { TerminalModes } from '../../src/sessions/terminal-modes.ts'

function watched(...parts: (string | Uint8Array)[]): TerminalModes {
  const modes = new TerminalModes()
  for (const part of parts) modes.watch(typeof part === 'string' ? Buffer.from(part, 'latin1') : part)
  return modes
}

const plain = '\x1b(B\x0f\x1b[0m'

test('a terminal in which nothing was switched on gets its colours back, and its cursor stays', () => {
  expect(watched('$ ls\r\n\x1b[32mfile\x1b[0m\r\n').undoing).toBe(plain)
})

test('everything a full-screen program has switched on is switched off, the screen last', () => {
  const { undoing } = watched(
    '\x1b[?1049h\x1b[?1h\x1b=\x1b[?25l\x1b[?1002;1006h\x1b[?2004h\x1b[2 q\x1b[>4;2m\x1b[1;23r',
  )
  expect(undoing).toBe(
    `\x1b[?1l\x1b[?25h\x1b[?1002l\x1b[?1006l\x1b[?2004l\x1b>\x1b[>4m\x1b[0 q\x1b7\x1b[r\x1b8\x1b[?1049l${plain}`,
  )
})

test('what the program has put back itself is left alone', () => {
  expect(watched('\x1b[?1049h\x1b[?25l\x1b[?2004h', '\x1b[?2004l\x1b[?25h\x1b[?1049l').undoing).toBe(plain)
  expect(watched('\x1b[?1049;2004h\x1b[?25l\x1b=', '\x1bc').undoing).toBe(plain)
})

test('keyboard flags are popped from the screen that they were pushed on', () => {
  const { undoing } = watched('\x1b[>1u\x1b[?1049h\x1b[>5u\x1b[>7u\x1b[<u')
  expect(undoing).toBe(`\x1b[<1u\x1b[?1049l\x1b[<1u${plain}`)
  expect(watched('\x1b[=3u').undoing).toBe(`\x1b[=0u${plain}`)
})

test('what only looks like a sequence, in a title or after a cancel, is none', () => {
  expect(watched('\x1b]0;[?25l\x07\x1bP[?1049h\x1b\\\x1b[?25\x18l').undoing).toBe(plain)
  expect(watched('\x1b]0;title\x1b[?25l').undoing).toBe(`\x1b[?25h${plain}`)
})

test('a sequence or a title that was cut off does not swallow what puts the terminal back', () => {
  expect(watched('\x1b[?25l\x1b[38;5;').undoing).toBe(`\x18\x1b[?25h${plain}`)
  expect(watched('\x1b[?25l\x1b]0;tit').undoing).toBe(`\x18\x1b[?25h${plain}`)
})

test('the condition can be brought about in another terminal, where undoing it is the same', () => {
  const modes = watched('\x1b[?25l\x1b[?1000h\x1b[?1003h\x1b[?1000h\x1b[?2004h\x1b[4h\x1b(0\x1b[>1u\x1b[3;9r\x1b[5 q')
  expect(watched(modes.doing).undoing).toBe(modes.undoing)
  expect(modes.doing).toMatch(/1003h.*1000h/)
})

test('pieces of any size tell the same as the whole, and hostile bytes end in a state that can be left', () => {
  const sequences = ['\x1b[?1049h', '\x1b[?1049l', '\x1b[?25l', '\x1b[>1u', '\x1b]0;x\x1b\\', '\x1bc', '\x1b=', '漢']
  const part = fc.oneof(
    fc.constantFrom(...sequences).map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 20 }), fc.array(fc.nat(40), { maxLength: 10 }), (parts, cuts) => {
      const all = Buffer.concat(parts)
      const ends = [...cuts.map((cut) => cut % (all.length + 1)).sort((a, b) => a - b), all.length]
      const pieces = ends.map((end, index) => all.subarray(ends[index - 1] ?? 0, end))
      const modes = watched(...pieces)
      expect(modes.undoing).toBe(watched(all).undoing)
      expect(watched(all, Buffer.from(modes.undoing, 'latin1')).undoing).toBe(plain)
    }),
  )
})
