import { constants } from 'node:os'

// Where a number has two names, the first is the usual one.
const names = new Map(
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number as number, name]),
)

/** Such as `SIGKILL`; `SIG34` where the number has no name. */
export function signalName(number: number): string {
  return names.get(number) ?? `SIG${number}`
}
