import { join } from 'node:path'
import type { AppRelease, InstanceAnswer } from '../../machines/index.ts'
import { Access } from '../apps/access.ts'
import type { AppConnection } from '../apps/app-connection.ts'
import { Credentials } from '../apps/credentials.ts'
import { Slot } from '../apps/slot.ts'
import { Workspaces } from '../apps/workspaces.ts'
import type { Config } from '../config.ts'
import type { SignaturePolicy } from '../packages/verify-signatures.ts'
import { ReleaseStore } from '../releases/store.ts'
import type { Interpreter } from '../run/interpreter.ts'
import { sweepChildren } from '../runtime/sweep-children.ts'
import { adoptedRelease } from './adopted-release.ts'
import { appRuns } from './app-runs.ts'

/** Where an app runs. */
export interface AppPlace {
  readonly app: string
  readonly workspace: string
}

export const keyOf = ({ app, workspace }: AppPlace) => `${workspace} ${app}`

/** What the effects of the app flows work on. */
export interface AppWorld {
  readonly home: string
  readonly store: ReleaseStore
  readonly workspaces: Workspaces
  readonly access: Access
  readonly credentials: Credentials
  readonly desk: Desk
  /** The registry that the configuration names; npm's own where absent. */
  readonly registry: string | undefined
  readonly signatures: SignaturePolicy
  /** What this host can do, by the names that manifests use. */
  readonly capabilities: readonly string[]
  readonly handshakeTimeoutMs: number
  /** How long calls that an old process has begun may take to end. */
  readonly drainMs: number
  /** Releases that are kept beside the current and the previous one. */
  readonly keep: number
  /** The secret that is kept under a name. @throws {InstarError} `CREDENTIAL_UNKNOWN` */
  credential(name: string, place: AppPlace): Promise<string>
  /** Resolves when no process of an earlier controller is left. */
  readonly swept: Promise<void>
  /** Lets the machine of a workspace's instance carry something out, and answers with what became of it. */
  ask(place: AppPlace, id: string, wish: AppRelease | 'stop' | 'restart', signal: AbortSignal): Promise<InstanceAnswer>
  /** Replaces the process of an instance by one of the same version. @throws why that is not up; the one before serves on then. */
  restart(place: AppPlace, id: string, signal: AbortSignal): Promise<void>
  /** The organisation's version; null where it has none. */
  adopted(app: string): Promise<AppRelease | null>
  /** Gives the organisation a version of an app that it does not have. `id` names the attempt. */
  raise(app: string, wanted: string, id: string, signal: AbortSignal): Promise<void>
  /** Whether the attempt of this id has begun to. */
  hasRaised(id: string): Promise<boolean>
  /** Begins an instance, and resolves when it serves. @throws why it does not. */
  begin(place: AppPlace, release: AppRelease, id: string, signal: AbortSignal): Promise<void>
  /** Whether its instance has been given up. */
  isDead(place: AppPlace): Promise<boolean>
  /** What runs, or is to run, in a workspace; null where the app has no instance there. */
  releaseIn(place: AppPlace): Promise<AppRelease | null>
}

/** Where the records and the output of app processes are. */
export const appRecordsIn = (home: string) => join(home, 'apps', 'processes')

/** What runs in this process's lifetime: where calls go, and the connections, by the key of their start. */
export class Desk {
  private readonly slots = new Map<string, Slot>()
  readonly connections = new Map<string, AppConnection>()
  /** What was pulled anew for a release that is not good any more, by its digest. */
  readonly pulled = new Map<string, Promise<AppRelease>>()

  /** @param waitMs How long a call waits for a process. */
  constructor(private readonly waitMs: number) {}

  slot(place: AppPlace): Slot {
    const key = keyOf(place)
    const known = this.slots.get(key)
    if (known !== undefined) return known
    const made = new Slot(`${place.app} in ${place.workspace}`, this.waitMs)
    this.slots.set(key, made)
    return made
  }

  /** Ends every process. */
  async close(): Promise<void> {
    await Promise.all([...this.connections.values()].map((connection) => connection.close()))
    this.connections.clear()
  }
}

export interface AppWorldOptions {
  readonly observe: boolean
  readonly credential?: AppWorld['credential']
  running(): Promise<Interpreter>
}

/** @throws {InstarError} `STATE_UNREADABLE`, `STATE_DAMAGED` */
export async function openAppWorld(
  home: string,
  { apps, registry }: Config,
  { observe, credential, running }: AppWorldOptions,
): Promise<AppWorld> {
  const store = await ReleaseStore.open({ home, kind: 'app' })
  const credentials = await Credentials.open(home)
  return {
    home,
    store,
    workspaces: await Workspaces.open(home),
    access: await Access.open(home),
    credentials,
    desk: new Desk(apps.callWaitMs),
    registry,
    signatures: apps.policy.signatures,
    capabilities: apps.capabilities,
    handshakeTimeoutMs: apps.handshakeTimeoutMs,
    drainMs: apps.drainMs,
    keep: apps.policy.keep,
    credential: credential ?? (async (name, { workspace }) => credentials.secret(workspace, name)),
    // Their pipes ended with the controller that started them, so nobody can use them any more.
    swept: observe ? Promise.resolve() : swept(home),
    adopted: (app) => adoptedRelease(store, app),
    ...appRuns(running, apps.policy),
  }
}

function swept(home: string): Promise<void> {
  const sweeping = sweepChildren(appRecordsIn(home), new Set())
  sweeping.catch(() => {}) // told by every start that waits for it
  return sweeping
}
