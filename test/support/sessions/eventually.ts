import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'

/** What `look` finds when it finds the same for a while: what was about to end has ended. */
export async function settled<Found>(look: () => Promise<Found>): Promise<Found> {
  let found = await look()
  let alike = 0
  await eventually(async () => {
    await sleep(40)
    const now = await look()
    alike = isDeepStrictEqual(now, found) ? alike + 1 : 0
    found = now
    return alike === 5
  }, 'an end of all change')
  return found
}

/** Resolves once `holds`; rejects when that takes longer than anybody would wait. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  what = 'it',
  withinMs = 20_000,
): Promise<void> {
  const deadline = Date.now() + withinMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${withinMs} ms`)
    await sleep(10)
  }
}
