import type { Agent } from 'node:http'
import { InstarError } from '../errors.ts'
import { type NpmConfig, readNpmConfig } from './npm-config.ts'

/** Where a caller may say which registry to use, and with what. */
export interface RegistryChoice {
  /** URL of the registry. Default: what npm is configured to use on this machine for this package. */
  readonly registry?: string
  /** Stands in for npm's configuration of this machine. */
  readonly npm?: NpmConfig
  /** Origins besides the registry's that may serve bytes, `https://cdn.example`. They are never sent credentials. */
  readonly origins?: readonly string[]
}

/** One registry as this machine reaches it. */
export interface RegistryAccess {
  /** Ends with a slash. */
  readonly url: string
  /** The registry that npm uses where nothing is configured; mirrors hand out its tarball addresses unchanged. */
  readonly publicUrl: string
  /** May `url` be asked at all? The registry's own origin, other configured registries, and `origins`. */
  trusts(url: URL): boolean
  /** Credentials for `url`: none unless a registry of that very origin, scheme and port included, is configured. */
  authorization(url: URL): Record<string, string>
  agent(url: URL): Agent
}

type Credentials = Record<'token' | 'auth' | 'cert' | 'key', string | null>

/** @throws {InstarError} `CONFIG_INVALID` where the registry is not a plain http(s) URL. */
export async function accessRegistry(packageName: string | null, choice: RegistryChoice): Promise<RegistryAccess> {
  const npm = choice.npm ?? (await readNpmConfig())
  const [{ default: registryFetch }, { default: npmAgent }] = await Promise.all([
    import('npm-registry-fetch'),
    import('@npmcli/agent'),
  ])
  const { getAuth, pickRegistry: pick } = registryFetch as unknown as {
    getAuth(url: string, options: object): Credentials
    pickRegistry(spec: string, options: object): string
  }
  const base = registryUrl(choice.registry ?? pick(packageName ?? 'npm', { ...npm }))
  const registries = new Set([base.origin])
  for (const [key, value] of Object.entries(npm)) {
    const names = key === 'registry' || key.endsWith(':registry')
    if (names && typeof value === 'string' && URL.canParse(value)) registries.add(new URL(value).origin)
  }
  const trusted = new Set([...registries, ...(choice.origins ?? []).map((origin) => registryUrl(origin).origin)])
  const credentials = (url: URL) => getAuth(url.href, { ...npm, registry: base.href })
  return {
    url: base.href,
    publicUrl: pick('npm', {}),
    trusts: (url) => trusted.has(url.origin),
    authorization(url): Record<string, string> {
      if (!registries.has(url.origin)) return {}
      const { token, auth } = credentials(url)
      if (token) return { authorization: `Bearer ${token}` }
      return auth ? { authorization: `Basic ${auth}` } : {}
    },
    agent(url) {
      const text = (name: string) => (typeof npm[name] === 'string' ? npm[name] : undefined)
      const identity = (name: 'cert' | 'key') =>
        registries.has(url.origin) ? (credentials(url)[name] ?? text(name)) : undefined
      return npmAgent.getAgent(url.href, {
        proxy: (url.protocol === 'https:' ? text('https-proxy') : undefined) ?? text('proxy'),
        noProxy: text('noproxy'),
        ca: npm.ca as readonly string[] | undefined,
        cert: identity('cert'),
        key: identity('key'),
        rejectUnauthorized: npm['strict-ssl'] !== false && npm['strict-ssl'] !== 'false',
        // Two requests in half an hour gain nothing from an open connection, and a stale one fails the first of them.
        keepAlive: false,
      })
    },
  }
}

function registryUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw new InstarError('CONFIG_INVALID', 'the registry must be an http or https URL without credentials or query', {
      hint: 'Correct the registry; a token belongs in an .npmrc.',
    })
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}
