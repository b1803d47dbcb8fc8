import { setTimeout } from 'node:timers/promises'
import type { Asking, ControlClient } from '../control/connect.ts'
import type { Served, VerbName, VerbParams, VerbResult } from '../control/verbs.ts'
import { InstarError } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import { type Cli, configOf, homeOf } from './cli.ts'
import { loggerFor } from './logger.ts'

/** How long to wait for a home that is held but has no socket yet, or no more: another command opens or closes it. */
const heldMs = 5000
const lookAgainMs = 50

/** A way to have verbs performed. */
export interface Reached extends AsyncDisposable {
  perform<Name extends VerbName>(verb: Name, params: VerbParams<Name>, asking?: Asking): Promise<VerbResult<Name>>
  /** There is no answer; a controller in this process may all the same refuse what it is told. */
  tell<Name extends VerbName>(verb: Name, params: VerbParams<Name>): Promise<void>
}

/**
 * The running controller or, where none runs, one of our own for as long as the command takes. Our own is reached by
 * other commands too, so that two checks at once are one; what runs in the home when it closes is left running.
 *
 * @throws {InstarError} `HOME_LOCKED` where the home stays held by one who does not answer, and what opening can fail with.
 */
export async function reachController(cli: Cli): Promise<Reached> {
  return reach(cli, openOwn)
}

async function reach(cli: Cli, open: (cli: Cli, home: string) => Promise<Reached>): Promise<Reached> {
  const home = await homeOf(cli)
  const until = performance.now() + heldMs
  for (;;) {
    const client = await reachRunning(cli, home)
    if (client !== undefined) return client
    try {
      return await open(cli, home)
    } catch (error) {
      const isHeld = error instanceof InstarError && error.code === 'HOME_LOCKED'
      if (!isHeld || performance.now() > until) throw error
    }
    await setTimeout(lookAgainMs, undefined, { signal: cli.signal }).catch(() => cli.signal.throwIfAborted())
  }
}

/** The controller that runs on `home`, if one does. */
export async function reachRunning(cli: Cli, home: string): Promise<ControlClient | undefined> {
  // Loading the client takes longer than all of the look at a home without a controller.
  const { findAddress } = await import('../control/address.ts')
  if ((await findAddress(home)) === undefined) return undefined
  const { connectControl } = await import('../control/connect.ts')
  const client = await connectControl(home)
  if (client !== undefined) await compareVersions(cli, client.controller.version)
  return client
}

async function compareVersions({ output }: Cli, running: string): Promise<void> {
  if (running === packageVersion) return
  const { default: compare } = await import('semver/functions/compare.js')
  const which = compare(running, packageVersion) < 0 ? 'older' : 'newer'
  output.warn(`the running controller (${running}) is ${which} than this command (${packageVersion})`)
}

/**
 * The running controller or, where none runs, a look at the home as it lies there: nothing that was under way is resumed
 * by somebody who only asks.
 */
export async function reachObserver(cli: Cli): Promise<Reached> {
  return reach(cli, openObserver)
}

async function openObserver(cli: Cli, home: string): Promise<Reached> {
  const { inspectHome } = await import('../home.ts')
  const { state } = await inspectHome(home)
  if (state === 'missing' || state === 'empty')
    throw new InstarError('HOME_UNUSABLE', `there is no home at ${home} yet`, {
      hint: 'Name another one with --home, or make one by `instar up`.',
    })
  const config = await configOf(cli)
  const { openController } = await import('../controller.ts')
  const { output, signal } = cli
  const controller = await openController({ home, config, logger: loggerFor(output), signal, observe: true })
  return {
    ...within(cli, controller),
    [Symbol.asyncDispose]: () => controller.close({ leaveRunning: true }),
  }
}

/** A controller in this process. */
function within({ signal }: Cli, controller: Served): Pick<Reached, 'perform' | 'tell'> {
  const perform: Reached['perform'] = async (verb, params, asking = {}) => {
    const { performVerb } = await import('../control/verbs.ts')
    const deliver = async (part: unknown) => asking.onProgress?.(part)
    const context = { signal: asking.signal ?? signal, progress: (data: unknown) => void deliver(data), deliver }
    return (await performVerb(controller, verb, params, context)) as any
  }
  return { perform, tell: async (verb, params) => void (await perform(verb, params)) }
}

async function openOwn(cli: Cli, home: string): Promise<Reached> {
  const config = await configOf(cli)
  const [{ openController }, { serveControl }] = await Promise.all([
    import('../controller.ts'),
    import('../control/serve.ts'),
  ])
  const { output, signal } = cli
  const controller = await openController({ home, config, logger: loggerFor(output), signal, schedule: false })
  const server = await serveControl(controller, (message) => output.detail(message)).catch(async (error) => {
    await controller.close({ leaveRunning: true })
    throw error
  })
  return {
    ...within(cli, controller),
    async [Symbol.asyncDispose]() {
      // Others may have joined in; what they asked for is theirs, unless a person wants all of it to end.
      await server.drain(signal)
      await server.close()
      await controller.close({ leaveRunning: true })
    },
  }
}
