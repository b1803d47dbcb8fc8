import { signal } from '@preact/signals'

/** Where the page is, as its address says: `#/journal?run=app-upgrade-12&at=15`. A link leads there, and so does a reload. */
export interface Route {
  readonly page: string
  /** What of the page, such as a machine's name. */
  readonly part: string | null
  readonly query: Readonly<Record<string, string>>
}

function read(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  const [page = '', ...parts] = path.split('/')
  const part = parts.length === 0 ? null : decode(parts.join('/'))
  return { page: page || 'overview', part, query: Object.fromEntries(new URLSearchParams(query)) }
}

export const route = signal<Route>(read())

addEventListener('hashchange', () => {
  route.value = read()
})

/** An address within the page. */
export function linkTo(page: string, query: Readonly<Record<string, string | number | null | undefined>> = {}): string {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '')
  const text = new URLSearchParams(wanted.map(([name, value]) => [name, String(value)])).toString()
  return `#/${page}${text === '' ? '' : `?${text}`}`
}

export function go(page: string, query: Parameters<typeof linkTo>[1] = {}, { replace = false } = {}): void {
  const link = linkTo(page, query)
  if (link === location.hash) return
  if (!replace) {
    location.hash = link
    return
  }
  history.replaceState(null, '', link)
  route.value = read()
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // typed by somebody
  }
}
