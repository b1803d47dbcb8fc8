// What a host does when it is built: puts one version of its runtime beside its own files. Here the version that the
// configuration calls bundled is fetched once, with the same checks as every update.
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { held } from '../../dist/src/held.js'
import { fetchTarball } from '../../dist/src/packages/fetch-tarball.js'
import { readManifest } from '../../dist/src/packages/read-manifest.js'
import { resolve } from '../../dist/src/packages/resolve.js'
import { unpack } from '../../dist/src/packages/unpack.js'

const here = fileURLToPath(new URL('.', import.meta.url))

/** Makes sure that the bundled version of every runtime in the configuration is there. */
export const bundle = (signal) => held(bundleAll(signal))

async function bundleAll(signal) {
  const { registry, runtimes } = JSON.parse(await readFile(join(here, 'instar.config.json'), 'utf8'))
  for (const { package: name, bundled } of Object.values(runtimes)) {
    const target = join(here, bundled.path)
    if ((await versionAt(target)) === bundled.version) continue
    console.error(`Fetching ${name} ${bundled.version}, the version that is bundled with this host …`)
    const draft = `${target}.draft`
    await rm(draft, { recursive: true, force: true })
    await mkdir(draft, { recursive: true })
    const file = join(draft, 'package.tgz')
    const tree = join(draft, 'tree')
    const resolved = await resolve({ package: name, channel: bundled.version, ...(registry && { registry }), signal })
    await fetchTarball(resolved, { file, signal })
    await unpack(file, tree, { signal })
    await readManifest(tree, resolved)
    await rm(target, { recursive: true, force: true }) // of another version
    await rename(tree, target)
    await rm(draft, { recursive: true })
  }
}

/** The version of the package in a folder, or nothing where there is none. */
async function versionAt(folder) {
  const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => '{}')
  return JSON.parse(text).version
}
