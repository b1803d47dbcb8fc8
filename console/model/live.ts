import { batch, computed, effect, signal } from '@preact/signals'
import { ask, Refusal } from './api.ts'
import type { Hello, ProgressTold, RecordTold, Status, Visitor } from './contract.ts'
import { enter, entry } from './entry.ts'
import { merged } from './merged.ts'
import { knownRuns } from './runs.ts'

/**
 * What the controller tells as it happens. Server-sent events resume by the number of the last record, so a connection that
 * breaks costs nothing but time: what happened meanwhile comes first.
 */

/** `lost`: it was there, and is looked for again. */
export type Link = 'connecting' | 'live' | 'lost'

export const link = signal<Link>('connecting')
export const hello = signal<Hello | null>(null)
export const status = signal<Status | null>(null)
/** In the order of the journal, without a hole. */
export const records = signal<readonly RecordTold[]>([])
export const runs = computed(() => knownRuns(records.value))

export interface Progress extends ProgressTold {
  readonly at: number
  /** What was told of single workspaces, in the order it came. */
  readonly steps: readonly WorkspaceStep[]
}

export interface WorkspaceStep {
  readonly workspace: string
  readonly outcome: string
}

/** By run: the last that was told of it. */
export const progress = signal<ReadonlyMap<string, Progress>>(new Map())

/** More than this many records are not kept here; the journal has them. */
const recordsKept = 20_000
const progressKept = 100
const retryMs = 500
const retryMsMax = 5000
/** A stream that says nothing for this long is taken for dead; a controller says something more often. */
const silenceMs = 45_000

let source: EventSource | null = null
let attempts = 0
let timer: ReturnType<typeof setTimeout> | undefined
let watchdog: ReturnType<typeof setTimeout> | undefined

/** Connected as long as there is a visitor. Called once. */
export function follow(): void {
  effect(() => {
    if (entry.value.state === 'in') connect()
    else disconnect()
  })
}

function connect(): void {
  disconnect()
  const last = records.peek().at(-1)?.seq
  source = new EventSource(`/console/events${last === undefined ? '' : `?from=${last + 1}`}`)
  on(source, 'hello', (data: Hello) => {
    attempts = 0
    batch(() => {
      forgetAnotherJournal(data)
      hello.value = data
      link.value = 'live'
    })
  })
  on(source, 'status', (data: Status) => {
    status.value = data
  })
  on(source, 'record', absorb)
  on(source, 'progress', (data: ProgressTold) => {
    progress.value = withProgress(progress.peek(), data)
  })
  // Nothing is told by these two but that the connection lives; what they are about is in the status.
  on(source, 'notice', () => {})
  on(source, 'alive', () => {})
  source.onerror = () => void recover()
  watch()
}

function disconnect(): void {
  clearTimeout(timer)
  clearTimeout(watchdog)
  source?.close()
  source = null
}

/** The browser would come back by itself where a connection breaks, but not where an answer says no, as on a restart. */
async function recover(): Promise<void> {
  disconnect()
  link.value = link.peek() === 'connecting' ? 'connecting' : 'lost'
  try {
    const visitor = await ask<Visitor>('/console/session')
    batch(() => {
      const known = entry.peek()
      // The same visitor: what is shown stays.
      if (known.state === 'in' && known.visitor.role === visitor.role) connect()
      else entry.value = { state: 'in', visitor }
    })
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      void enter()
      return
    }
    timer = setTimeout(() => void recover(), wait())
  }
}

function wait(): number {
  attempts += 1
  return Math.min(retryMsMax, retryMs * 2 ** Math.min(attempts - 1, 10))
}

function on<Data>(from: EventSource, name: string, take: (data: Data) => void): void {
  from.addEventListener(name, (event) => {
    watch()
    take(JSON.parse((event as MessageEvent<string>).data))
  })
}

function watch(): void {
  clearTimeout(watchdog)
  watchdog = setTimeout(() => void recover(), silenceMs)
}

/** Another home may be served at the same address; nothing of the one before belongs to it. */
function forgetAnotherJournal(next: Hello): void {
  const known = hello.peek()
  const last = records.peek().at(-1)?.seq ?? 0
  if (known === null || (known.home === next.home && next.lastSeq >= last)) return
  records.value = []
  progress.value = new Map()
  connect()
}

// ---- records

let arrived: RecordTold[] = []
let isScheduled = false

/** Takes what comes within a frame together: a journal that is read from its beginning comes in thousands. */
function absorb(record: RecordTold): void {
  arrived.push(record)
  if (isScheduled) return
  isScheduled = true
  // A page that nobody looks at is given no frames.
  if (document.hidden) setTimeout(flush, 0)
  else requestAnimationFrame(flush)
}

function flush(): void {
  isScheduled = false
  const all = merged(records.peek(), arrived)
  arrived = []
  // Those at the end that somebody scrolls to are the ones that matter.
  records.value = all.length > recordsKept ? all.slice(-recordsKept) : all
}

/** Whether there is something before the first record that is here. */
export const hasEarlier = computed(() => (records.value[0]?.seq ?? 1) > 1 && records.value.length < recordsKept)

export const isLoadingEarlier = signal(false)

/** Reads up to `count` records before those that are here. */
export function loadEarlier(count: number): void {
  const first = records.peek()[0]?.seq
  if (first === undefined || first <= 1 || isLoadingEarlier.peek()) return
  isLoadingEarlier.value = true
  const past = new EventSource(`/console/events?from=${Math.max(1, first - count)}`)
  const end = () => {
    past.close()
    isLoadingEarlier.value = false
  }
  past.addEventListener('record', (event) => {
    const record = JSON.parse((event as MessageEvent<string>).data) as RecordTold
    if (record.seq >= first) end()
    else absorb(record)
  })
  past.onerror = end
}

// ---- progress

function withProgress(known: ReadonlyMap<string, Progress>, told: ProgressTold): ReadonlyMap<string, Progress> {
  const { workspace, outcome } = Object(told.data) as Partial<WorkspaceStep>
  const before = known.get(told.run)?.steps ?? []
  const steps = workspace === undefined || outcome === undefined ? before : [...before, { workspace, outcome }]
  const rest = [...known].filter(([run]) => run !== told.run).slice(-progressKept)
  return new Map([...rest, [told.run, { ...told, at: Date.now(), steps }]])
}
