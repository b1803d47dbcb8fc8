import { InstarError } from './errors.ts'
import { packagePlaces, requireFrom } from './unbundled-packages.ts'

/** Locks on ranges of files, which end with the process that holds them. */
export interface FileLocks {
  /** False where another descriptor holds the lock, in this process or another. */
  tryLock(descriptor: number, offset: number, length: number): boolean
}

let loaded: FileLocks | undefined

/** @throws {InstarError} `NATIVE_UNLOADABLE` */
export function loadFileLocks(): FileLocks {
  loaded ??= load()
  return loaded
}

function load(): FileLocks {
  const places = packagePlaces()
  const causes: unknown[] = []
  for (const place of places) {
    try {
      return requireFrom(place)('fs-native-extensions') as FileLocks
    } catch (error) {
      causes.push(error)
    }
  }
  const cause = causes[0]
  const reason = cause instanceof Error ? cause.message.split('\n')[0] : 'there is nowhere to look for it'
  throw new InstarError('NATIVE_UNLOADABLE', `fs-native-extensions cannot be loaded: ${reason}`, {
    cause,
    hint: 'Install it for this platform, beside the program: `npm install fs-native-extensions@1.5.1`.',
    details: { places },
  })
}
