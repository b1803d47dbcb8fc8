import { errorRecord } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Output } from './output.ts'

/** The controller's words on stderr: warnings and errors always, the rest with `--verbose`. */
export function loggerFor(output: Output): Logger {
  const detail = (fields: object, message: string) => output.detail(`${message} ${JSON.stringify(plain(fields))}`)
  const warn = (fields: object, message: string) => {
    output.warn(lineOf(fields, message), plain(fields))
    detail(fields, message)
  }
  return { debug: detail, info: detail, warn, error: warn }
}

const isScalar = (value: unknown) =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'

/** Where something is recorded, which a person does not look for in a warning. */
const bookkeeping = new Set(['type', 'seq', 'at', 'run', 'machine'])

/** `runtime.banned: kanban 0.1.70: it ended with code 1` */
function lineOf(fields: object, message: string): string {
  const about = Object.entries(fields).filter(([name, value]) => isScalar(value) && !bookkeeping.has(name))
  const why = (fields as { failure?: { message?: unknown } | null }).failure?.message
  const cause = (fields as { err?: unknown }).err
  const parts = [message, about.map(([, value]) => value).join(' '), why, cause && errorRecord(cause).message]
  return parts.filter(Boolean).join(': ')
}

function plain(fields: object): object {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, value instanceof Error ? errorRecord(value) : value]),
  )
}
