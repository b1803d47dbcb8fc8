import { signal } from '@preact/signals'
import { dayText, distanceText } from '../model/wording.ts'

/** Now, to half a minute. */
const now = signal(Date.now())
setInterval(() => {
  now.value = Date.now()
}, 30_000)

/** A moment as a distance; hovered, the moment itself. */
export function Since({ at }: { readonly at: number | string }) {
  const ms = typeof at === 'string' ? Date.parse(at) : at
  if (!Number.isFinite(ms)) return <span>at some time</span>
  // What has happened since the clock here was last set is not in the future.
  const reference = Math.max(now.value, Math.min(ms, Date.now()))
  return (
    <time dateTime={new Date(ms).toISOString()} title={dayText(ms)}>
      {distanceText(ms, reference)}
    </time>
  )
}
