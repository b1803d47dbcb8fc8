import { writeFile } from 'node:fs/promises'

/**
 * Says how much a process that leads a session lets others go first while processors are short: 0 as all do, 19 the most.
 *
 * Linux shares processors out among sessions (autogroup, sched(7)), and unlike the niceness of a process, that of a session
 * may be taken back by its user. Where it does not, as in a service of its own or on other systems, this changes nothing.
 *
 * @returns false where it is to be tried again in a moment: the kernel takes few such changes from all who are not root.
 */
export async function setSessionNiceness(pid: number, niceness: number): Promise<boolean> {
  if (process.platform !== 'linux') return true
  return writeFile(`/proc/${pid}/autogroup`, String(niceness), { flag: 'r+' }).then(
    () => true,
    ({ code }: NodeJS.ErrnoException) => code !== 'EAGAIN',
  )
}
