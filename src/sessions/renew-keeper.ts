import { readFile } from 'node:fs/promises'
import { findKeeper } from './keeper.ts'
import type { KeeperChannel } from './keeper-channel.ts'

/**
 * Has the keeper become the one that belongs to this version, with all that it holds, where it is another one. It
 * outlives every daemon, so nobody else would ever replace it.
 *
 * @returns What there is to be said; null where nothing was to be done.
 */
export async function renewKeeper(channel: KeeperChannel): Promise<string | null> {
  const { path } = findKeeper()
  const pid = channel.keeperPid
  if (path === undefined || pid === null) return null
  // Its file may have been replaced or removed since it was started, and is readable there all the same.
  const [running, ours] = await Promise.all([readFile(`/proc/${pid}/exe`), readFile(path)])
  if (running.equals(ours)) return null
  const isReplaced = await channel.exec(path)
  return isReplaced ? `the keeper ${pid} is this version's now` : `the keeper ${pid} could not become this version's`
}
