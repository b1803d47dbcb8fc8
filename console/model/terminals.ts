import { signal } from '@preact/signals'
import type { AttachedTerminal } from '../terminal/attached-terminal.ts'
import { ask } from './api.ts'
import type { DaemonSessions, Failed, SessionInfo } from './contract.ts'
import { wordsIn } from './words.ts'

export const terminals = signal<readonly DaemonSessions[] | null>(null)
export const terminalsFailure = signal<Failed | null>(null)

export async function loadTerminals(): Promise<void> {
  try {
    terminals.value = (await ask<{ daemons: readonly DaemonSessions[] }>('/console/terminals')).daemons
    terminalsFailure.value = null
  } catch (error) {
    terminalsFailure.value = error as Failed
  }
}

/** Begins a session; a shell where no command is given. */
export async function openTerminal(daemon: string, command: string): Promise<SessionInfo> {
  const words = wordsIn(command)
  const body = words.length === 0 ? {} : { command: words }
  const { session } = await ask<{ session: SessionInfo }>(`/console/terminals/${encodeURIComponent(daemon)}`, {
    method: 'POST',
    body,
  })
  await loadTerminals()
  return session
}

/** Hangs up; what does not mind that is killed. */
export async function endTerminal(daemon: string, id: string): Promise<void> {
  const path = `/console/terminals/${encodeURIComponent(daemon)}/${encodeURIComponent(id)}`
  await ask(path, { method: 'DELETE' })
  await loadTerminals()
}

/** Terminals that stay attached while another page is looked at, so that nothing of them is lost. The last used last. */
const attached = new Map<string, AttachedTerminal>()
const attachedMax = 6

/** The terminal emulator is large, and loaded when it is first needed. */
export async function attach(daemon: string, session: SessionInfo): Promise<AttachedTerminal> {
  const { AttachedTerminal } = await import('../terminal/attached-terminal.ts')
  const name = `${daemon}/${session.id}@${session.createdAt}`
  const terminal = attached.get(name) ?? new AttachedTerminal(daemon, session)
  attached.delete(name)
  attached.set(name, terminal)
  for (const [other, old] of attached) {
    if (attached.size <= attachedMax) break
    attached.delete(other)
    old.dispose()
  }
  return terminal
}
