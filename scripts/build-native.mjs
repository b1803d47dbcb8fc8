// Builds what is in C to dist/native, where a C compiler is and the source changed since: the keeper, a program, and
// the addon for descriptors, which Node loads. Plain Node without dependencies: a user of the package runs it too,
// `node scripts/build-native.mjs`. Never fails an installation.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

const products = [
  {
    name: 'keeper',
    source: 'keeper.c',
    title: 'the keeper',
    without: 'sessions end where their daemon crashes',
    platforms: ['linux'],
    // Linked to nothing it takes half the memory and runs on any Linux; not every system has what that needs.
    linkings: [['-static'], []],
  },
  {
    name: 'descriptors.node',
    source: 'descriptors.c',
    title: 'the addon for descriptors',
    without: 'a daemon does not ask the system who its clients are',
    platforms: ['linux', 'darwin'],
    // What it calls is in the Node that loads it.
    linkings: [['-shared', '-fPIC', ...(process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : [])]],
  },
]

/**
 * Builds where that is needed, and says in one line of each what came of it.
 *
 * @returns {{ outcome: 'built' | 'current' | 'failed' | 'unsupported', message: string }[]}
 */
export function buildNative({ folder = join(root, 'dist', 'native'), compilers = defaultCompilers() } = {}) {
  return products.map((product) => buildOne(product, folder, compilers))
}

function buildOne({ name, source, title, without, platforms, linkings }, folder, compilers) {
  const Title = title.charAt(0).toUpperCase() + title.slice(1)
  if (!platforms.includes(process.platform))
    return { outcome: 'unsupported', message: `${Title} is for ${platforms.join(' and ')}; nothing to build.` }
  const code = join(root, 'native', source)
  const product = join(folder, name)
  const mark = join(folder, `.${name}-built`)
  const wanted = `${process.platform}-${process.arch} ${createHash('sha256').update(readFileSync(code)).digest('hex')}`
  if (existsSync(product) && existsSync(mark) && readFileSync(mark, 'utf8') === wanted)
    return { outcome: 'current', message: `${Title} is up to date.` }

  mkdirSync(folder, { recursive: true })
  // What runs cannot be written over, and nobody may find half of it.
  const draft = join(folder, `.${name}-${process.pid}`)
  const failure = compile(compilers, linkings, code, draft)
  if (failure !== null) {
    rmSync(draft, { force: true })
    return { outcome: 'failed', message: `${Title} was not built, so ${without}: ${failure}` }
  }
  renameSync(draft, product)
  writeFileSync(mark, wanted)
  return { outcome: 'built', message: `Built ${title}: ${product}` }
}

/** Null, or why none of the compilers made it. */
function compile(compilers, linkings, source, target) {
  let failure = 'no C compiler was found (on Debian: apt-get install gcc libc6-dev).'
  for (const compiler of compilers)
    for (const linking of linkings) {
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
    for (const { message } of buildNative()) console.error(message)
  } catch (error) {
    console.error(`Nothing was built: ${error.message}`)
  }
}
