import { duration } from './duration.ts'

/** An action or guard as the compiled machine holds it: a name, a name with parameters, or a function. */
type Reference =
  | string
  | ((...args: never) => unknown)
  | { readonly type: string; readonly params?: unknown }
  | null
  | undefined

/** How actions read in a drawing. The `raise` and `cancel` by which XState carries out `after` are left out. */
export function actionLabels(actions: readonly Reference[]): string[] {
  return actions.filter((action) => !servesAfter(action)).map(actionLabel)
}

export function guardLabel(guard: Reference): string | undefined {
  if (guard === undefined || guard === null) return undefined
  return guardIn(guard, false)
}

function servesAfter(action: Reference): boolean {
  const { event, sendId } = Object(action) as { event?: { type?: unknown }; sendId?: unknown }
  return [event?.type, sendId].some((name) => typeof name === 'string' && name.startsWith('xstate.after.'))
}

function actionLabel(action: Reference): string {
  return named(action) ?? builtIn(action as Builtin) ?? functionName(action)
}

/** What XState's action creators return: a function that carries its type and its arguments. */
interface Builtin {
  readonly type?: string
  readonly assignment?: unknown
  readonly event?: unknown
  readonly delay?: unknown
  readonly to?: unknown
  readonly sendId?: unknown
  readonly src?: unknown
  readonly actorRef?: unknown
}

function builtIn(action: Builtin): string | undefined {
  switch (action.type) {
    case 'xstate.assign':
      return typeof action.assignment === 'object'
        ? `assign ${Object.keys(action.assignment!).join(', ')}`.trim()
        : 'assign'
    case 'xstate.raise':
      return `raise ${eventName(action.event)}${delayLabel(action.delay)}`
    case 'xstate.sendTo':
      return `send ${eventName(action.event)}${typeof action.to === 'string' ? ` to ${action.to}` : ''}${delayLabel(action.delay)}`
    case 'xstate.emit':
      return `emit ${eventName(action.event)}`
    case 'xstate.cancel':
      return typeof action.sendId === 'string' ? `cancel ${action.sendId}` : 'cancel'
    case 'xstate.spawnChild':
      return typeof action.src === 'string' ? `spawn ${action.src}` : 'spawn'
    case 'xstate.stopChild':
      return typeof action.actorRef === 'string' ? `stop ${action.actorRef}` : 'stop'
    case 'xstate.log':
      return 'log'
    default:
      return undefined // `enqueueActions` too: what it will do is known only when it runs
  }
}

const eventName = (event: unknown): string => {
  const { type } = Object(event) as { type?: unknown }
  return typeof type === 'string' ? type : 'event'
}

function delayLabel(delay: unknown): string {
  if (typeof delay === 'number') return ` after ${duration(delay)}`
  return typeof delay === 'string' ? ` after ${delay}` : ''
}

/** What XState's guard creators return. */
interface GuardCreator {
  readonly check?: unknown
  readonly guards?: readonly Reference[]
  readonly stateValue?: unknown
}

function guardIn(guard: Reference, nested: boolean): string {
  const { check, guards, stateValue } = Object(guard) as GuardCreator
  if (check === undefined) return named(guard) ?? functionName(guard)
  if (stateValue !== undefined) return `in ${statePath(stateValue)}`
  const kind = (guard as { name: string }).name
  if (kind === 'not') return `not ${guardIn(guards![0], true)}`
  const text = guards!.map((inner) => guardIn(inner, true)).join(` ${kind} `)
  return nested ? `(${text})` : text
}

function statePath(value: unknown): string {
  if (typeof value === 'string') return value
  const paths = Object.entries(value as object).map(([key, inner]) => {
    const rest = statePath(inner)
    return rest === '' ? key : `${key}.${rest}`
  })
  return paths.join(' and ')
}

function named(reference: Reference): string | undefined {
  if (typeof reference === 'string') return reference
  if (typeof reference !== 'object' || reference === null) return undefined
  const values = Object.values(Object(reference.params) as object).filter((value) => Object(value) !== value)
  return values.length === 0 ? reference.type : `${reference.type} (${values.join(', ')})`
}

// An arrow function written in place is given the name of the property it stands in, which says nothing.
const places = new Set(['', 'actions', 'anonymous', 'entry', 'enqueueActions', 'exit', 'guard'])

function functionName(reference: Reference): string {
  const name = typeof reference === 'function' ? reference.name : ''
  return places.has(name) ? 'inline' : name
}
