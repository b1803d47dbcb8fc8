import { InstarError } from './errors.ts'
import { packagePlaces, requireFrom } from './unbundled-packages.ts'

/** Locks on ranges of files, which end with the process that holds them. */
export interface FileLocks {
  /** False where another descriptor holds the lock, in this process or another. */
  tryLock(descriptor: number, offset: number, length: number): boolean
}

/** What is compiled of `fs-native-extensions` 1.5.1. */
interface Binding {
  /** Throws `EAGAIN` where another descriptor holds the lock. */
  tryLock(descriptor: number, offset: number, length: number, isExclusive: boolean): void
}

// The package's own way to it takes 20 ms, a fifth of what Node needs to start.
const prebuilt = `fs-native-extensions/prebuilds/${process.platform}-${process.arch}/fs-native-extensions.node`

let loaded: FileLocks | undefined

/** @throws {InstarError} `NATIVE_UNLOADABLE` */
export function loadFileLocks(): FileLocks {
  loaded ??= locksOf(load())
  return loaded
}

function locksOf(binding: Binding): FileLocks {
  return {
    tryLock(descriptor, offset, length) {
      try {
        binding.tryLock(descriptor, offset, length, true)
        return true
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false
        throw error
      }
    },
  }
}

function load(): Binding {
  const places = packagePlaces()
  const causes: unknown[] = []
  for (const place of places) {
    try {
      return requireFrom(place)(prebuilt) as Binding
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
