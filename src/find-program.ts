import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, resolve } from 'node:path'

/** Absolute path of a program, looked for where a shell would; undefined where nothing is. */
export function findProgram(name: string, cwd: string, path = '/usr/local/bin:/usr/bin:/bin'): string | undefined {
  if (name === '') return undefined
  const folders = name.includes('/') ? [''] : path.split(delimiter)
  return folders.map((folder) => resolve(cwd, folder, name)).find(isProgram)
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
