import { performVerb } from '../control/verbs.ts'
import { eventText } from './event-text.ts'
import type { Shown } from './shown.ts'

/** Everything at a glance, as events: for the owner of the home, and for others, who see the apps and where they run. */
export interface Status {
  readonly owner: string
  readonly others: string
}

/** Looking is not free: the fastest pace, and which share of the time it may take. */
const everyMs = 500
const shareMax = 0.05
/** What changes without a record, such as a process that ended, is seen after this long. */
const unaskedMs = 5000

/** Looks at everything again when something may have changed, and tells where it has. Never in a hurry. */
export class StatusWatch {
  /** What was told last. */
  last: Status | null = null
  private timer: NodeJS.Timeout | undefined
  private isLooking = false
  private isStale = false
  private isOver = false
  private notBefore = 0

  constructor(
    private readonly controller: Shown,
    private readonly tell: (status: Status) => void,
  ) {
    this.changed()
  }

  changed(): void {
    this.isStale = true
    if (!this.isLooking) this.lookIn(this.notBefore - performance.now())
  }

  stop(): void {
    this.isOver = true
    clearTimeout(this.timer)
  }

  private lookIn(ms: number): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.look(), Math.max(0, ms))
    this.timer.unref()
  }

  private async look(): Promise<void> {
    this.isLooking = true
    this.isStale = false
    const since = performance.now()
    const status = await statusOf(this.controller).catch(() => null) // the next look may find it
    if (this.isOver) return
    this.isLooking = false
    const now = performance.now()
    this.notBefore = now + Math.max(everyMs, (now - since) / shareMax)
    if (status !== null && status.owner !== this.last?.owner) {
      this.last = status
      this.tell(status)
    }
    this.lookIn(Math.max(this.isStale ? 0 : unaskedMs, this.notBefore - now))
  }
}

const context = { signal: new AbortController().signal, progress: () => {}, deliver: async () => {} }

async function statusOf(controller: Shown): Promise<Status> {
  const found = (await performVerb(controller, 'status', {}, context)) as Readonly<Record<string, unknown>>
  const workspaces = controller.workspaces.list().map(({ id }) => id)
  const hidden = Object.fromEntries(Object.keys(found).map((part) => [part, null]))
  return {
    owner: eventText('status', { ...found, workspaces }),
    others: eventText('status', { ...hidden, url: found.url, apps: found.apps, workspaces }),
  }
}
