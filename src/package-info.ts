import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The sources lie one folder below our manifest, the built files two. */
function find(folder: string): { root: string; version: string } {
  try {
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    if (name === 'instar') return { root: folder, version }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  if (dirname(folder) === folder) throw new Error('the package.json of this installation is missing')
  return find(dirname(folder))
}

const found = find(dirname(fileURLToPath(import.meta.url)))

/** The folder of this package; what is shipped beside the code lies in it. */
export const packageRoot = found.root
export const packageVersion = found.version
