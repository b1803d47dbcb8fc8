import { InstarError } from '../errors.ts'

/**
 * Reads the `line` of a probe: text within a line, or `/expression/flags`. What it gives answers with what a line
 * captured (or null) where the line matches, with undefined where it does not.
 *
 * @throws {InstarError} `CONFIG_INVALID` for an expression that is none.
 */
export function lineMatcher(line: string): (text: string) => string | null | undefined {
  const expression = /^\/(.+)\/([a-z]*)$/s.exec(line)
  if (expression === null) return (text) => (text.includes(line) ? null : undefined)
  const [, source, flags] = expression
  let pattern: RegExp
  try {
    pattern = new RegExp(source!, flags!.replace(/[gy]/g, ''))
  } catch (cause) {
    throw new InstarError('CONFIG_INVALID', `${line} is not a regular expression`, { cause })
  }
  return (text) => {
    const match = pattern.exec(text)
    return match === null ? undefined : (match.groups?.url ?? match[1] ?? null)
  }
}
