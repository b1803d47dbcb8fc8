/*
 * Where NODE_EXTRA_CA_CERTS is set, Node reads that file whenever it starts, which takes longer than all else if it holds the
 * certificates of the whole world. A daemon never uses them, and clients wait for it; its programs may need them. So it has
 * the variable under a name that says nothing to Node, and they under its own.
 */
const certificates = 'NODE_EXTRA_CA_CERTS'
const certificatesOfPrograms = `INSTAR_${certificates}`

/** What a daemon is started with by a process whose environment this is. */
export function daemonEnvironment({ [certificates]: file, ...others }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return file === undefined ? others : { ...others, [certificatesOfPrograms]: file }
}

/** What the programs of a daemon get of its environment: all but what is meant for it alone. */
export function environmentOfPrograms({ [certificatesOfPrograms]: file, ...own }: NodeJS.ProcessEnv) {
  const all = file === undefined ? own : { ...own, [certificates]: file }
  const shared = Object.entries(all).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && !/^(INSTAR_|NODE_CHANNEL_|ELECTRON_RUN_AS_NODE$)/.test(entry[0]),
  )
  return Object.fromEntries(shared)
}
