import { constants, type Stats } from 'node:fs'
import { copyFile, lstat, mkdir, readdir, readFile, realpath, rm, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, sep } from 'node:path'
import npa from 'npm-package-arg'
import semver from 'semver'
import * as z from 'zod'
import { InstarError } from '../errors.ts'

const dependencies = z.record(z.string(), z.string()).default({})
const manifest = z.looseObject({
  version: z.string().optional(),
  dependencies,
  optionalDependencies: dependencies,
  peerDependencies: dependencies,
})
type Manifest = z.infer<typeof manifest>

export interface Provided {
  readonly name: string
  readonly version: string
}

/**
 * Copies the packages that the host supplies into `<release>/node_modules`, each with the dependencies that the host
 * resolves for it, nested so that they cannot change what the release resolves. What was there under the same name is
 * replaced. The copies hold no link: neither to the host, nor at all.
 *
 * Only a package's own files are copied; its `node_modules` and version control are not.
 *
 * @param packages Folder of each package by the name that the release imports.
 * @throws {InstarError} `PROVIDED_MISSING`; `PROVIDED_OUT_OF_RANGE` where the release declares another range;
 * `PROVIDED_UNSAFE` where a link leaves the package or something is no plain file. The release is then to be thrown away.
 */
export async function provide(
  release: string,
  packages: Readonly<Record<string, string>>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Provided[]> {
  const names = Object.keys(packages)
  if (names.length === 0) return []
  const wanted = await readManifest(release)
  const modules = join(await realpath(release), 'node_modules')
  const provided: Provided[] = []
  for (const [name, path] of Object.entries(packages)) {
    checkName(name)
    const source = await packageFolder(name, path)
    const version = await checkVersion(name, source, wanted)
    await install({ name, source, modules, visible: new Map(), depth: 0, signal })
    provided.push({ name, version })
  }
  return provided
}

function checkName(name: string): void {
  // It becomes a path, and a scope is the only part of it that may add a level.
  if (!/^(@[\w~-][\w.~-]*\/)?[\w~-][\w.~-]*$/.test(name))
    throw new InstarError('PROVIDED_UNSAFE', `"${name}" is not the name of a package`)
}

async function packageFolder(name: string, path: string): Promise<string> {
  try {
    const folder = await realpath(path)
    if ((await stat(join(folder, 'package.json'))).isFile()) return folder
    throw new Error('its package.json is not a file')
  } catch (cause) {
    throw new InstarError('PROVIDED_MISSING', `${name} is to be provided from ${path}, where there is no package`, {
      cause,
      details: { name, path },
    })
  }
}

async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, 'package.json')
  try {
    return manifest.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    throw new InstarError('PROVIDED_MISSING', `cannot read ${path}`, { cause })
  }
}

async function checkVersion(name: string, source: string, release: Manifest): Promise<string> {
  const { version } = await readManifest(source)
  const range = release.dependencies[name] ?? release.optionalDependencies[name] ?? release.peerDependencies[name]
  if (version === undefined || !semver.valid(version))
    throw new InstarError('PROVIDED_MISSING', `${name} in ${source} has no version`, { details: { name, source } })
  if (range !== undefined && !admits(name, range, version))
    throw new InstarError('PROVIDED_OUT_OF_RANGE', `the release wants ${name} ${range}, the host provides ${version}`, {
      details: { name, range, version },
    })
  return version
}

/** A tag admits whatever the host has; an address or a git commit cannot be compared, so it admits nothing. */
function admits(name: string, spec: string, version: string): boolean {
  try {
    const parsed = npa.resolve(name, spec)
    const meant = parsed.type === 'alias' ? (parsed as npa.AliasResult).subSpec : parsed
    if (meant.type === 'tag') return true
    return (meant.type === 'range' || meant.type === 'version') && semver.satisfies(version, meant.fetchSpec!)
  } catch {
    return false // not a specifier at all
  }
}

interface Installation {
  readonly name: string
  readonly source: string
  /** The `node_modules` it goes into. */
  readonly modules: string
  /** What the new copy resolves from the folders above it: the source of each name. */
  readonly visible: ReadonlyMap<string, string>
  readonly depth: number
  readonly signal: AbortSignal | undefined
}

// Copies nest as deep as names shadow each other. Real trees need two or three.
const depthMax = 20

async function install({ name, source, modules, visible, depth, signal }: Installation): Promise<void> {
  if (depth > depthMax)
    throw new InstarError('PROVIDED_UNSAFE', `the dependencies of ${name} nest without an end`, { details: { source } })
  const target = join(modules, name)
  await rm(target, { recursive: true, force: true })
  await mkdir(dirname(target), { recursive: true })
  await checkPlace(modules, dirname(target))
  await copyPackage(source, target, signal)

  const inside = new Map([...visible, [name, source]])
  const wanted = await readManifest(source)
  for (const dependency of Object.keys({ ...wanted.optionalDependencies, ...wanted.dependencies })) {
    checkName(dependency)
    const found = await resolvePackage(dependency, source)
    // One the host lacks was not needed there; one that is needed after all is missed when the package is loaded.
    if (found === undefined || inside.get(dependency) === found) continue
    await install({
      name: dependency,
      source: found,
      modules: join(target, 'node_modules'),
      visible: inside,
      depth: depth + 1,
      signal,
    })
  }
}

async function checkPlace(modules: string, folder: string): Promise<void> {
  for (const path of new Set([modules, folder]))
    if ((await realpath(path)) !== path)
      throw new InstarError('PROVIDED_UNSAFE', `${path} leads elsewhere`, { details: { path } })
}

/** Finds a package as Node does, from the real folder of the one that asks and upwards, whatever its `exports` hide. */
async function resolvePackage(name: string, from: string): Promise<string | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (await isFile(join(candidate, 'package.json'))) return realpath(candidate)
    if (dirname(folder) === folder) return undefined
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  )
}

const notItsOwn = new Set(['node_modules', '.git', '.hg', '.svn'])

async function copyPackage(source: string, target: string, signal: AbortSignal | undefined): Promise<void> {
  const copyFolder = async (from: string, to: string, above: readonly string[]): Promise<void> => {
    if (above.includes(from)) throw unsafe(from, 'is a link to a folder that it lies in')
    await mkdir(to)
    for (const name of await readdir(from)) {
      signal?.throwIfAborted()
      if (notItsOwn.has(name)) continue
      const path = join(from, name)
      const { real, stats } = await followed(path)
      if (!isInside(source, real)) throw unsafe(path, `leads out of the package, to ${real}`)
      if (stats.isDirectory()) await copyFolder(real, join(to, name), [...above, from])
      else if (stats.isFile()) await copyFile(real, join(to, name), constants.COPYFILE_FICLONE)
      else throw unsafe(path, 'is neither a file nor a folder')
    }
  }
  await copyFolder(source, target, [])
}

async function followed(path: string): Promise<{ real: string; stats: Stats }> {
  const stats = await lstat(path)
  if (!stats.isSymbolicLink()) return { real: path, stats }
  const real = await realpath(path).catch((cause) => {
    throw unsafe(path, 'is a link to nothing', cause)
  })
  return { real, stats: await stat(real) }
}

function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path)
  return way === '' || (!isAbsolute(way) && way !== '..' && !way.startsWith(`..${sep}`))
}

function unsafe(path: string, why: string, cause?: unknown): InstarError {
  return new InstarError('PROVIDED_UNSAFE', `${path} ${why}`, { cause, details: { path } })
}
