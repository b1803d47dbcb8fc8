// Makes a clone ready to run: installs what the lock file names and builds, each only when something changed since.
// Plain Node without dependencies, because it runs before there are any.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildNative } from './build-native.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const installedMark = join(root, 'node_modules', '.instar-installed')
const builtMark = join(root, 'dist', '.instar-built')

const [major, minor] = process.versions.node.split('.').map(Number)
if (!(major === 20 && minor >= 19) && !(major === 22 && minor >= 9) && major < 23) {
  console.error(`Instar needs Node 20.19 or 22.9 or newer; this is ${process.versions.node}.`)
  process.exit(1)
}

const lock = digestOf(['package-lock.json', 'package.json'])
if (markOf(installedMark) !== lock) {
  console.error('Installing dependencies …')
  npm('ci', '--ignore-scripts')
  writeFileSync(installedMark, lock)
}

const sources = digestOf([
  ...filesIn('src'),
  ...filesIn('machines'),
  ...filesIn('console'),
  'tsconfig.json',
  'tsconfig.build.json',
  'package-lock.json',
  'scripts/bundle-programs.mjs',
])
if (markOf(builtMark) !== sources) {
  console.error('Building …')
  // A file that was renamed or removed must not live on in the build.
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  npm('run', '--silent', 'build')
  writeFileSync(builtMark, sources)
}

for (const { outcome, message } of buildNative())
  if (outcome === 'built' || outcome === 'failed') console.error(message)

function npm(...args) {
  // npm is a script on Windows, and only a shell runs those; nothing here comes from outside.
  const { status } = spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' })
  if (status !== 0) process.exit(status ?? 1)
}

function markOf(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null
}

function filesIn(folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort()
}

function digestOf(files) {
  const hash = createHash('sha256')
  for (const file of files)
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)))
      .update('\0')
  return hash.digest('hex')
}
