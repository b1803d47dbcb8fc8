import { InstarError } from '../errors.ts'

/** Where plugins go: this machine, a host that is reached by ssh, or whatever a command prefix leads into. */
export type Address =
  | { readonly kind: 'local' }
  | {
      readonly kind: 'ssh'
      readonly host: string
      readonly user: string | null
      readonly port: number | null
      readonly path: string
    }
  | { readonly kind: 'exec'; readonly prefix: readonly string[]; readonly path: string }

/**
 * Reads `local`, `ssh://[user@]host[:port]/path` or `exec:PREFIX#/path`. The host may be an alias of the user's ssh
 * configuration. A prefix is words between blanks; there is no quoting, since no shell reads it.
 *
 * @throws {InstarError} `PLUGIN_TARGET_INVALID`
 */
export function readAddress(text: string): Address {
  const invalid = (why: string) => new InstarError('PLUGIN_TARGET_INVALID', `${shown(text)} is no target: ${why}`)
  if (text === 'local') return { kind: 'local' }
  const ssh = /^ssh:\/\/(?:([^@/]*)@)?(\[[0-9A-Fa-f:.]+\]|[^:/@[\]]*)(?::([0-9]*))?(.*)$/s.exec(text)
  if (ssh !== null) {
    const [, user = null, host = '', port, rest = ''] = ssh
    if (user !== null && (!word.test(user) || user.includes(':')))
      throw invalid('its user has a sign that no name has; a password has no place in it')
    const bare = host.replace(/^\[|\]$/g, '')
    if (!word.test(bare)) throw invalid('its host has a sign that no name has')
    if (port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535)) throw invalid('its port is none')
    return { kind: 'ssh', host: bare, user, port: port === undefined ? null : Number(port), path: path(rest, invalid) }
  }
  const exec = /^exec:([^#]*)#(.*)$/s.exec(text)
  if (exec !== null) {
    const prefix = exec[1]!.split(/[ \t]+/).filter((one) => one !== '')
    if (prefix.length === 0) throw invalid('it names no command')
    if (/[\0\n\r'"\\]/.test(exec[1]!)) throw invalid('quotes and escapes mean nothing in it')
    return { kind: 'exec', prefix, path: path(exec[2]!, invalid) }
  }
  throw invalid('it is neither local nor ssh://[user@]host[:port]/path nor exec:PREFIX#/path')
}

/** One text for one place, so that a run knows it again. */
export function addressText(address: Address): string {
  if (address.kind === 'local') return 'local'
  if (address.kind === 'exec') return `exec:${address.prefix.join(' ')}#${address.path}`
  const { user, host, port, path: at } = address
  const name = host.includes(':') ? `[${host}]` : host
  return `ssh://${user === null ? '' : `${user}@`}${name}${port === null ? '' : `:${port}`}${at}`
}

/** Absolute, not the root itself, and no name in it that means another place. */
const plainPath = /^(\/(?!\.{1,2}(\/|$))[^/\0\n\r]{1,255}){1,64}$/

/** What ssh would take for an option or a command must not begin a word of it. */
const word = /^[A-Za-z0-9_][A-Za-z0-9_.:%+-]{0,254}$/

function path(text: string, invalid: (why: string) => InstarError): string {
  const trimmed = text.replace(/\/+$/, '')
  if (!plainPath.test(trimmed)) throw invalid('it needs an absolute path without "." and ".."')
  return trimmed
}

const shown = (text: string) => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text)
