import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * Makes sure that a program of the system is there: as root on Debian it is installed, elsewhere the error names the
 * package.
 *
 * @param debianPackage Where it is not named as the program.
 */
export async function systemProgram(name: string, debianPackage = name): Promise<void> {
  if (await isThere(name)) return
  const missing = `this test needs the program ${name}; on Debian: apt-get install ${debianPackage}`
  if (process.getuid?.() !== 0 || !(await isThere('apt-get'))) throw new Error(missing)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const options = ['-qq', '-y', '-o', 'DPkg::Lock::Timeout=300']
  try {
    await run('apt-get', [...options, 'update'], { env })
    await run('apt-get', [...options, 'install', '--no-install-recommends', debianPackage], { env })
  } catch (cause) {
    throw new Error(missing, { cause })
  }
}

async function isThere(name: string): Promise<boolean> {
  const looked = run('sh', ['-c', 'command -v "$0"', name])
  return looked.then(
    () => true,
    () => false,
  )
}
