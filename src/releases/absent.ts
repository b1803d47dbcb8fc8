/**
 * For `catch`: null when the path does not lead to anything. Every other failure (too many open files, a failing disk)
 * says nothing about what is there, so it goes on as an error and never passes for absence.
 */
export function absent(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return null
  throw error
}
