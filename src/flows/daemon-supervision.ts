import type { Daemon, daemonSupervision, Failure, Handoff } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import type { EffectsOf } from '../run/flow.ts'
import { pause } from '../runtime/pause.ts'
import { processEntry } from '../runtime/processes.ts'
import { askDaemon, askPatiently } from '../sessions/ask-daemon.ts'
import { daemonDirectory } from '../sessions/daemon-place.ts'
import type { DaemonInfo, HandoffResult } from '../sessions/protocol.ts'
import { defaultCommand, startDaemon } from '../sessions/start-daemon.ts'
import { watchDaemon } from '../sessions/watch-daemon.ts'
import { removeShortDirectory } from '../socket-path.ts'
import { type DaemonWorld, daemonOf } from './daemon-world.ts'

/** A daemon that was killed is back within a second; a busy machine takes longer. */
const patienceMs = 10_000
/** What a predecessor still has to send when it no longer serves, and what a program needs to end. */
const goneMs = 60_000
const lookAgainMs = 20

/** Serves `machines/daemon-supervision.ts`. */
export const supervisionEffects = (world: DaemonWorld) => {
  const directoryOf = (name: string) => daemonDirectory(world.home, name)

  /** Who serves now. Where nobody looks after the daemons, nobody follows one that is gone. */
  const look = (name: string, signal: AbortSignal) =>
    askPatiently(directoryOf(name), (daemon) => daemon.info(), { patienceMs, signal })

  return {
    locate: async ({ name }, { signal }) => {
      const info = await look(name, signal)
      return info === undefined ? null : daemonOf(world, info)
    },

    start: async ({ name }, { signal }) => {
      const { command, shell, scrollbackBytes: bufferBytes } = world
      const keeper = world.keeper()
      try {
        const start = { directory: directoryOf(name), name, command, shell, bufferBytes, keeper, signal }
        return daemonOf(world, await startDaemon(start))
      } catch (error) {
        if (!(error instanceof InstarError) || error.code !== 'DAEMON_RUNNING') throw error
        // Started before a crash of ours, or by somebody else. It may hold the place without answering yet.
        const info = await whenThere(() => look(name, signal), signal)
        if (info === undefined) throw error
        return daemonOf(world, info)
      }
    },

    watch: ({ name, daemon }, { signal }) => watchDaemon(directoryOf(name), daemon.pid, signal),

    update: async ({ name, daemon }, { signal }) => {
      const before = await look(name, signal)
      if (before === undefined) throw new InstarError('DAEMON_GONE', `the daemon ${name} is gone`)
      // The handoff took place before a crash of ours, which has cost us its answer. One of another version is none of it: a
      // keeper has brought that back.
      if (before.pid !== daemon.pid && before.version === world.version)
        return { handoff: handedOver(daemon, before), daemon: daemonOf(world, before) }
      const command = world.command ?? defaultCommand()
      const result = await askDaemon(directoryOf(name), (client) => client.upgrade({ command }), signal)
      if (result === undefined) throw new InstarError('DAEMON_GONE', `the daemon ${name} is gone`)
      if (result.outcome === 'handed-over') await gone([result.predecessor], signal)
      const after = await look(name, signal)
      if (after === undefined) throw new InstarError('DAEMON_GONE', `no daemon ${name} serves after the handoff`)
      return { handoff: handoffOf(result), daemon: daemonOf(world, after) }
    },

    stop: async ({ name, daemon }, { signal }) => {
      const directory = directoryOf(name)
      const info = await look(name, signal)
      const now = info === undefined ? daemon : daemonOf(world, info)
      // Its keeper has started another one after a crash: that is still the daemon which is meant.
      const isMeant = now.pid === daemon.pid || (now.keeper !== null && now.keeper.pid === daemon.keeper?.pid)
      if (!isMeant)
        throw new InstarError('DAEMON_RUNNING', `the daemon ${name} is not the one that was to be stopped any more`)
      const stopped = await askDaemon(directory, (client) => client.stop(), signal)
      await gone([now.pid, ...(now.keeper === null ? [] : [now.keeper.pid])], signal)
      await removeShortDirectory(directory)
      return { ended: stopped?.sessions ?? 0 }
    },
  } satisfies EffectsOf<typeof daemonSupervision>
}

function handedOver({ pid }: Daemon, { pid: successor, sessions }: DaemonInfo): Handoff {
  return { outcome: 'handed-over', predecessor: pid, successor, sessions, freezeMs: null, reason: null }
}

function handoffOf({ reason, ...result }: HandoffResult): Handoff {
  if (reason === null) return { ...result, reason: null }
  const { code, message, hint } = reason
  const failure: Failure = { name: 'InstarError', code, message, ...(hint !== undefined && { hint }) }
  return { ...result, reason: failure }
}

/** @throws {InstarError} `DAEMON_SILENT` where one of them does not end. */
async function gone(pids: readonly number[], signal: AbortSignal): Promise<void> {
  const until = performance.now() + goneMs
  for (const pid of pids)
    while ((await processEntry(pid)) !== undefined) {
      if (performance.now() > until) throw new InstarError('DAEMON_SILENT', `process ${pid} does not end`)
      await pause(lookAgainMs, signal)
    }
}

async function whenThere(
  look: () => Promise<DaemonInfo | undefined>,
  signal: AbortSignal,
): Promise<DaemonInfo | undefined> {
  const until = performance.now() + patienceMs
  for (;;) {
    const found = await look()
    if (found !== undefined || performance.now() > until) return found
    await pause(lookAgainMs, signal)
  }
}
