import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export { packageVersion } from './package-version.ts'

const mainFolder = () => dirname(process.argv[1] ? realpathSync(process.argv[1]) : process.execPath)

/** The folder with this code. A bundle for CommonJS does not say which; then it is the main script's. */
export const codeFolder = (import.meta.url as string | undefined)?.startsWith('file:')
  ? dirname(fileURLToPath(import.meta.url))
  : mainFolder()

/** The sources lie one folder below our manifest, the built files two; a bundle lies somewhere else. */
const packageRoot = [dirname(codeFolder), dirname(dirname(codeFolder))].find((folder) => {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).name === 'instar'
  } catch {
    return false // there is none, or it is not ours
  }
})

/** Whether this code was taken into a host's bundle, away from the files of its package. */
export const isBundled = packageRoot === undefined

/**
 * Where a file of this package is, such as `dist/native/keeper`. A host that is a bundle ships it beside that, or beside its
 * main script, where bundlers put parts of a bundle into folders.
 */
export function shippedFile(path: string): string {
  if (packageRoot !== undefined) return join(packageRoot, path)
  const beside = join(codeFolder, basename(path))
  return existsSync(beside) ? beside : join(mainFolder(), basename(path))
}
