import { homedir } from 'node:os'
import { join, sep } from 'node:path'

/** Places of the user and of the system, by the names that MCP bundles give them. */
export function places() {
  const home = homedir()
  return {
    HOME: home,
    DESKTOP: join(home, 'Desktop'),
    DOCUMENTS: join(home, 'Documents'),
    DOWNLOADS: join(home, 'Downloads'),
    '/': sep,
    pathSeparator: sep,
  }
}

/** What stands between `${` and `}`. */
export const namedIn = (text: string): string[] => [...text.matchAll(/\$\{([^}]*)\}/g)].map(([, name]) => name!)
