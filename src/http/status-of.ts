import { type ErrorRecord, exitCodeOf } from '../errors.ts'

const statuses: Partial<Record<string, number>> = {
  CONTROLLER_BUSY: 503,
  CONTROLLER_CLOSED: 503,
  CONTROLLER_GONE: 503,
  ABORTED: 503,
  PERMISSION_DENIED: 403,
  CONTROL_TOO_LARGE: 413,
  DIAGRAM_MISSING: 404,
  INTERNAL: 500,
}

const usage = 2

/** What HTTP calls an error. 422: what was asked for is understood, and cannot be done. */
export function statusOf({ code = 'INTERNAL' }: Pick<ErrorRecord, 'code'>): number {
  const status = statuses[code]
  if (status !== undefined) return status
  if (code.endsWith('_UNKNOWN')) return 404
  return exitCodeOf(code) === usage ? 400 : 422
}
