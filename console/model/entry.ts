import { signal } from '@preact/signals'
import { ask, Refusal } from './api.ts'
import type { Visitor } from './contract.ts'
import { go } from './route.ts'

/** Who the page acts for, as far as that is known. */
export type Entry =
  | { readonly state: 'entering' }
  | { readonly state: 'in'; readonly visitor: Visitor }
  /** No token, or one that is known no more. */
  | { readonly state: 'out'; readonly wrong: boolean }

export const entry = signal<Entry>({ state: 'entering' })

const retryMs = 1000

/**
 * Trades the token of a link for a cookie that no script can read, or goes on with the one there is. The token leaves the
 * address at once, so that it is in no history and no screenshot.
 */
export async function enter(): Promise<void> {
  const token = tokenOfLink()
  const wrong = token !== null && !(await show(token))
  for (;;) {
    try {
      entry.value = { state: 'in', visitor: await ask<Visitor>('/console/session') }
      return
    } catch (error) {
      if (error instanceof Refusal && (error.status === 401 || error.status === 403)) {
        entry.value = { state: 'out', wrong }
        return
      }
    }
    await new Promise((resolve) => setTimeout(resolve, retryMs))
  }
}

/** Whether a token opens the console. What goes wrong otherwise is tried again. */
export async function show(token: string): Promise<boolean> {
  for (;;) {
    try {
      await ask('/console/session', { method: 'POST', body: { token } })
      return true
    } catch (error) {
      if (error instanceof Refusal && error.status >= 400 && error.status < 500) return false
    }
    await new Promise((resolve) => setTimeout(resolve, retryMs))
  }
}

export async function leave(): Promise<void> {
  await ask('/console/session', { method: 'DELETE' }).catch(() => {}) // it is forgotten here in any case
  entry.value = { state: 'out', wrong: false }
}

function tokenOfLink(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token === null) return null
  history.replaceState(null, '', location.pathname)
  go('overview', {}, { replace: true })
  return token
}
