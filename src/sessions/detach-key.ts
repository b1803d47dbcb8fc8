import { InstarError } from '../errors.ts'

/** The key that leaves a session alone; it does not reach the program. */
export interface DetachKey {
  /** As a person writes it: `Ctrl-]`. */
  readonly name: string
  /** Where it begins in what was typed; -1 where it is not. */
  find(typed: Buffer): number
}

/**
 * Reads `ctrl-]`, `ctrl-\`, `ctrl-q`, also `^q`; null for `none`.
 *
 * @throws {InstarError} `USAGE`
 */
export function parseDetachKey(text: string): DetachKey | null {
  if (text === 'none') return null
  const [, key] = /^(?:ctrl-|c-|\^)([a-z\]\\^_@])$/i.exec(text) ?? []
  if (key === undefined)
    throw new InstarError('USAGE', `"${text}" cannot be the key that detaches`, {
      hint: 'Give a key such as ctrl-], ctrl-\\ or ctrl-q, or none.',
    })
  const name = `Ctrl-${key.toUpperCase()}`
  const byte = key.toUpperCase().charCodeAt(0) & 0x1f
  const encoded = encodings(key.toLowerCase().charCodeAt(0))
  return {
    name,
    find(typed) {
      const plain = typed.indexOf(byte)
      const sequence = typed.toString('latin1').search(encoded)
      if (plain === -1 || sequence === -1) return Math.max(plain, sequence)
      return Math.min(plain, sequence)
    },
  }
}

/**
 * How a terminal sends it that was asked to tell all keys apart: as `CSI code ; 1 + modifiers u` (kitty's protocol, where a
 * release is event 3), or as `CSI 27 ; 1 + modifiers ; code ~` (xterm's). Caps Lock (64) and Num Lock (128) do not matter.
 */
function encodings(code: number): RegExp {
  const control = '(?:5|69|133|197)'
  return new RegExp(`\\x1b\\[(?:${code}(?::\\d*)*;${control}(?::[12])?(?:;[\\d:]*)?u|27;${control};${code}~)`)
}
