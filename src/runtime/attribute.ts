/** What attribution looks at: an error of ours, or one that went through JSON. */
interface Evidence {
  readonly code?: string
  readonly message: string
  readonly details?: Readonly<Record<string, unknown>> | undefined
}

// Refusals that the same version would not have met on another day.
const environmentErrno = /\b(EADDRINUSE|EADDRNOTAVAIL|ENOSPC|EDQUOT|EROFS|EMFILE|ENFILE|ENOMEM|EAGAIN|EIO)\b/
const environmentWords =
  /address already in use|port \d+ is (already )?(in use|taken)|no space left on device|disk quota exceeded|read-only file system|too many open files|cannot allocate memory/i

/**
 * Whose fault a failed start was. `version`: this version is bad and would be bad again. `environment`: the port was
 * taken, the disk full, the program missing; nobody is punished.
 *
 * A version is accused only by what is known to come from it; all that is unknown is the environment.
 */
export function attribute(failure: Evidence): 'environment' | 'version' {
  switch (failure.code) {
    case 'RUNTIME_EXITED':
      return exitWasForced(failure) ? 'environment' : 'version'
    case 'NATIVE_UNLOADABLE':
      // What the host supplied is the host's.
      return failure.details?.provided === true ? 'environment' : 'version'
    case 'PROBE_MISMATCH':
      // Where the system does not show whose sockets are whose, the answer may have been another program's.
      return failure.details?.portHolder === 'unknown' ? 'environment' : 'version'
    case 'ENTRY_MISSING':
    case 'PROBE_TIMEOUT':
      return 'version'
    default:
      return 'environment'
  }
}

function exitWasForced({ details = {} }: Evidence): boolean {
  const { code, lost, portHolder, output } = details
  if (lost === true || portHolder === 'foreign') return true
  // A shell's way to say that the program could not be run at all.
  if (code === 126 || code === 127) return true
  // Somebody asked it to end: a service manager, a person. SIGKILL is none of these: it also ends what eats all memory.
  if (['SIGTERM', 'SIGINT', 'SIGHUP'].includes(String(details.signal)) || [129, 130, 143].includes(Number(code)))
    return true
  return typeof output === 'string' && (environmentErrno.test(output) || environmentWords.test(output))
}
