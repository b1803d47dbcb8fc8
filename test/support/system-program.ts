import { execFile } from 'node:child_process'
import { access } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Debian asks this program before a package may start its service. */
const servicePolicy = '/usr/sbin/policy-rc.d'

/**
 * Makes sure that a program of the system is there, and resolves with its path: as root on Debian it is installed,
 * elsewhere the error names the package.
 *
 * @param debianPackage Where it is not named as the program.
 * @param hasService The package starts a service of its own when it is installed. A test wants the program alone, so it
 *   is installed only where a policy decides about services, as in a container; elsewhere that is left to a person.
 */
export async function systemProgram(name: string, debianPackage = name, { hasService = false } = {}): Promise<string> {
  const there = await pathOf(name)
  if (there !== null) return there
  const missing = `this test needs the program ${name}; on Debian: apt-get install ${debianPackage}`
  if (process.getuid?.() !== 0 || (await pathOf('apt-get')) === null) throw new Error(missing)
  if (hasService && !(await exists(servicePolicy))) throw new Error(`${missing}, which also starts its service`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  // Several files of tests may want something at the same time, and not all of what apt-get locks is waited for.
  const inTurn = ['/var/lib/apt', 'apt-get', '-qq', '-y', '-o', 'DPkg::Lock::Timeout=300']
  try {
    await run('flock', [...inTurn, 'update'], { env })
    await run('flock', [...inTurn, 'install', '--no-install-recommends', debianPackage], { env })
  } catch (cause) {
    throw new Error(missing, { cause })
  }
  const installed = await pathOf(name)
  if (installed === null) throw new Error(`the package ${debianPackage} brought no program ${name}`)
  return installed
}

/** Looks where daemons lie too, which is not on every user's PATH. */
async function pathOf(name: string): Promise<string | null> {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` }
  const looked = run('sh', ['-c', 'command -v "$0"', name], { env })
  return looked.then(
    ({ stdout }) => stdout.trim(),
    () => null,
  )
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
