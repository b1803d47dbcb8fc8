import { expect, test } from 'vitest'
import { InstarError } from '../../src/errors.ts'
import { parseDetachKey } from '../../src/sessions/detach-key.ts'

const find = (key: string, typed: string) => parseDetachKey(key)!.find(Buffer.from(typed, 'latin1'))

test.each([
  ['ctrl-]', '\x1d', 'Ctrl-]'],
  ['ctrl-\\', '\x1c', 'Ctrl-\\'],
  ['^A', '\x01', 'Ctrl-A'],
  ['C-q', '\x11', 'Ctrl-Q'],
])('%s is found among what was typed', (text, byte, name) => {
  expect(parseDetachKey(text)!.name).toBe(name)
  expect(find(text, `vi ${byte}x`)).toBe(3)
  expect(find(text, 'vi x')).toBe(-1)
})

test.each([
  '\x1b[93;5u', // as kitty's protocol tells it
  '\x1b[93:125;5:1;93u', // with the shifted key, the kind of event and the text
  '\x1b[93;69u', // with Caps Lock
  '\x1b[93;133:2u', // held down, with Num Lock
  '\x1b[27;5;93~', // as xterm tells it with modifyOtherKeys
])('it is also found in the form that tells all keys apart: %j', (sequence) => {
  expect(find('ctrl-]', `x${sequence}`)).toBe(1)
  expect(find('ctrl-]', `x${sequence}\x1d`)).toBe(1)
  expect(find('ctrl-]', `\x1d${sequence}`)).toBe(0)
})

test.each(['\x1b[93;5:3u', '\x1b[93;6u', '\x1b[93u', '\x1b[193;5u', '\x1b[27;5;92~', '\x1b[A'])(
  'other keys, and letting go of it, are left alone: %j',
  (sequence) => {
    expect(find('ctrl-]', sequence)).toBe(-1)
  },
)

test('none leaves every key to the program', () => {
  expect(parseDetachKey('none')).toBeNull()
})

test.each(['', 'x', 'ctrl-', 'ctrl-[', 'ctrl-1', 'ctrl-ab', 'alt-x', '\x1d'])(
  'what is no key is refused, as is Escape, with which arrows begin: %j',
  (text) => {
    expect(() => parseDetachKey(text)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => parseDetachKey(text)).toThrow(InstarError)
  },
)
