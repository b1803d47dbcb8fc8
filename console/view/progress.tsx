import { bytesText } from '../../src/cli/text.ts'
import type { Progress } from '../model/live.ts'

interface Amounts {
  readonly phase?: string
  readonly message?: string
  readonly version?: string
  readonly bytes?: number
  readonly total?: number
  readonly bytesPerSecond?: number
}

/** What is being done. Shown from the moment it was asked for, when nothing is known of it but that. */
export function ProgressLine({
  what,
  told,
  state,
}: {
  what: string
  told?: Progress | undefined
  state?: string | undefined
}) {
  const { phase, message, version, bytes, total, bytesPerSecond } = Object(told?.data) as Amounts
  const words = message ?? phase ?? state ?? 'asked for'
  const hasTotal = typeof total === 'number' && total > 0 && typeof bytes === 'number'
  return (
    <div class="progress">
      <p>
        <span class="spinner" aria-hidden="true" />
        <span role="status">
          {what}: {words}
          {version && ` ${version}`}
        </span>
        {typeof bytes === 'number' && (
          <span class="quiet">
            {' '}
            {bytesText(bytes)}
            {hasTotal && ` of ${bytesText(total)}`}
            {typeof bytesPerSecond === 'number' && bytesPerSecond > 0 && `, ${bytesText(bytesPerSecond)}/s`}
          </span>
        )}
      </p>
      <progress aria-label={what} {...(hasTotal && { value: Math.min(bytes, total), max: total })} />
    </div>
  )
}
