import { act, type Said } from './actions.ts'
import { runNow } from './moments.ts'
import type { KnownRun } from './runs.ts'

/**
 * What does again what a run failed to do; null where that is nothing that a person can ask for by one word. It begins a new
 * run, so that the failed attempt is kept; what that one has done already (releases, workspaces) is not done again.
 */
export function retryOf(known: KnownRun): (() => Promise<unknown>) | null {
  const { machine, key, run } = known
  const action = `${machine} ${key}`
  const say = (result: object): Said => ({ kind: 'plain', text: `${key}: ${Object(result).outcome ?? 'done'}` })
  switch (machine) {
    case 'runtime-update':
      return () => act(action, 'runtime.check', { name: key }, say)
    case 'runtime-launch':
      return () => act(action, 'runtime.launch', { name: key }, () => ({ kind: 'good', text: `${key} runs` }))
    case 'app-upgrade':
      return async () => {
        const { wanted } = (await runNow(run)).context as { wanted: string | null }
        if (wanted === null) return act(action, 'app.rollback', { name: key }, say)
        return act(action, 'app.upgrade', { name: key, to: wanted }, say)
      }
    default:
      return null
  }
}
