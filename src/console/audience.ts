import type { Change } from '../run/interpreter.ts'
import type { EventStream } from './event-stream.ts'
import { eventText } from './event-text.ts'
import { NewestRecords } from './newest-records.ts'
import { recordText } from './record-text.ts'
import type { Shown } from './shown.ts'
import { StatusWatch } from './status-watch.ts'

export interface Listener {
  readonly stream: EventStream
  readonly isOwner: boolean
}

/** Something is said this often, so that neither side takes a silent connection for a dead one. */
const aliveMs = 15_000

/** All pages that listen. What happens is looked at and written down once for all of them, and while there is none, not at all. */
export class Audience {
  readonly newest: NewestRecords
  private readonly listeners = new Set<Listener>()
  private readonly status: StatusWatch
  private readonly unwatch: () => void
  private readonly beat: NodeJS.Timeout

  constructor(controller: Shown) {
    this.newest = new NewestRecords(controller.journal.lastSeq)
    this.unwatch = controller.watch((change) => this.hear(change))
    this.status = new StatusWatch(controller, (status) => {
      for (const { stream, isOwner } of this.listeners) stream.tellStatus(isOwner ? status.owner : status.others)
    })
    this.beat = setInterval(() => this.tellAll(eventText('alive', {})), aliveMs)
    this.beat.unref()
  }

  get size(): number {
    return this.listeners.size
  }

  add(listener: Listener): void {
    this.listeners.add(listener)
    const { last } = this.status
    if (last !== null) listener.stream.tellStatus(listener.isOwner ? last.owner : last.others)
  }

  remove(listener: Listener): void {
    this.listeners.delete(listener)
  }

  stop(): void {
    this.unwatch()
    this.status.stop()
    clearInterval(this.beat)
  }

  private hear(change: Change): void {
    if (change.type === 'record') {
      const { record, state } = change
      this.newest.add(record.seq, recordText(record, state))
      this.status.changed()
      for (const { stream, isOwner } of this.listeners) if (isOwner) stream.wake()
    } else if (change.type === 'notice') this.tellOwners(eventText('notice', change.notice))
    else {
      const { run, effect, data } = change
      this.tellOwners(eventText('progress', { run, effect, data }))
    }
  }

  private tellOwners(text: string): void {
    for (const { stream, isOwner } of this.listeners) if (isOwner) stream.tell(text)
  }

  private tellAll(text: string): void {
    for (const { stream } of this.listeners) stream.tell(text)
  }
}
