import { setTimeout as sleep } from 'node:timers/promises'

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
