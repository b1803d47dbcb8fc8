import { readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export { packageVersion } from './package-version.ts'

/** The folder with this code. A bundle for CommonJS does not say which; then it is the main script's. */
export const codeFolder = (import.meta.url as string | undefined)?.startsWith('file:')
  ? dirname(fileURLToPath(import.meta.url))
  : dirname(process.argv[1] ?? process.execPath)

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

/** Where a file of this package is, such as `dist/native/keeper`; a host that is a bundle has it beside itself. */
export function shippedFile(path: string): string {
  return packageRoot === undefined ? join(codeFolder, basename(path)) : join(packageRoot, path)
}
