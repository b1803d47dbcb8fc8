// Builds native/keeper.c to dist/native/keeper, where a C compiler is and the source changed since. Plain Node without
// dependencies: a user of the package runs it too, `node scripts/build-native.mjs`. Never fails an installation.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = join(root, 'native', 'keeper.c')

/**
 * Builds where that is needed, and says in one line what came of it.
 *
 * @returns {{ outcome: 'built' | 'current' | 'failed' | 'unsupported', message: string }}
 */
export function buildNative({ folder = join(root, 'dist', 'native'), compilers = defaultCompilers() } = {}) {
  if (process.platform !== 'linux')
    return { outcome: 'unsupported', message: 'The keeper is for Linux; nothing to build.' }
  const program = join(folder, 'keeper')
  const mark = join(folder, '.keeper-built')
  const wanted = `${process.platform}-${process.arch} ${createHash('sha256').update(readFileSync(source)).digest('hex')}`
  if (existsSync(program) && existsSync(mark) && readFileSync(mark, 'utf8') === wanted)
    return { outcome: 'current', message: 'The keeper is up to date.' }

  mkdirSync(folder, { recursive: true })
  // A running keeper cannot be written over, and nobody may find half a program.
  const draft = join(folder, `.keeper-${process.pid}`)
  const failure = compile(compilers, draft)
  if (failure !== null) {
    rmSync(draft, { force: true })
    return {
      outcome: 'failed',
      message: `The keeper was not built, so sessions end where their daemon crashes: ${failure}`,
    }
  }
  renameSync(draft, program)
  writeFileSync(mark, wanted)
  return { outcome: 'built', message: `Built the keeper: ${program}` }
}

/** Null, or why none of the compilers made it. */
function compile(compilers, target) {
  let failure = 'no C compiler was found (on Debian: apt-get install gcc libc6-dev).'
  // Linked to nothing it takes half the memory and runs on any Linux; not every system has what that needs.
  for (const compiler of compilers)
    for (const linking of [['-static'], []]) {
      const [program, ...before] = compiler.split(' ')
      const args = [...before, '-std=c11', '-O2', '-Wall', '-Wextra', ...linking, '-o', target, source]
      const { error, status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
      if (error !== undefined) break
      if (status === 0) return null
      failure = `${compiler}: ${stderr.trim().split('\n')[0]}`
    }
  return failure
}

function defaultCompilers() {
  return process.env.CC ? [process.env.CC] : ['cc', 'gcc', 'clang']
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    console.error(buildNative().message)
  } catch (error) {
    console.error(`The keeper was not built: ${error.message}`)
  }
}
