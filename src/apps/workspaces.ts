import { join } from 'node:path'
import * as z from 'zod'
import type { AppInstall } from '../../machines/index.ts'
import { InstarError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { encodeName } from '../releases/layout.ts'
import { StateFile } from './state-file.ts'

export const workspaceId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'must be small letters, digits, ".", "_" and "-", at most 63')

const environment = z.record(z.string().regex(/^[A-Za-z_]\w{0,254}$/), z.string().max(32_768))

/** How an app is run in one workspace: what an install was given, and keeps through every upgrade. */
export const installSchema = z.strictObject({
  args: z.array(z.string().max(4096)).max(100).default([]),
  env: environment.default({}),
  /**
   * By the name of the variable, or of a setting that is a secret: the name under which it is kept. The secret itself is
   * nowhere in the home's state.
   */
  credentials: z.record(z.string().regex(/^[A-Za-z_][\w.-]{0,254}$/), z.string().min(1).max(256)).default({}),
  /** By the name of a setting. */
  config: z.record(z.string().min(1).max(255), z.array(z.string().max(4096)).max(100)).default({}),
})

const stateSchema = z.strictObject({
  schema: z.literal(1),
  workspaces: z.record(
    workspaceId,
    z.strictObject({ addedAt: z.iso.datetime(), apps: z.record(z.string().min(1).max(214), installSchema) }),
  ),
})

type State = z.output<typeof stateSchema>

/**
 * The workspaces of an organisation and what is installed in each, format 1: `state/workspaces.json`, one JSON object that
 * is replaced as a whole.
 *
 *   workspaces   by id: { addedAt, apps: by name: { args, env, credentials, config } }
 */
export class Workspaces {
  private readonly listeners = new Set<() => void>()

  private constructor(
    private readonly home: string,
    private readonly file: StateFile<State>,
  ) {}

  /** @throws {InstarError} `STATE_UNREADABLE`, `STATE_DAMAGED` */
  static async open(home: string): Promise<Workspaces> {
    const path = join(home, 'state', 'workspaces.json')
    return new Workspaces(home, await StateFile.open<State>(path, stateSchema, { schema: 1, workspaces: {} }))
  }

  list(): readonly string[] {
    return Object.keys(this.file.state.workspaces).sort()
  }

  /** Names and installs of the apps of a workspace. @throws {InstarError} `WORKSPACE_UNKNOWN`, with the nearest name. */
  apps(workspace: string): Readonly<Record<string, AppInstall>> {
    return this.known(workspace).apps
  }

  /** @throws {InstarError} `WORKSPACE_UNKNOWN`; `APP_UNKNOWN` where it is not installed there. */
  install(workspace: string, app: string): AppInstall {
    const apps = this.apps(workspace)
    if (!Object.hasOwn(apps, app))
      throw new InstarError('APP_UNKNOWN', `${workspace} has no app "${app}"${didYouMean(app, Object.keys(apps))}`)
    return apps[app]!
  }

  /** Workspaces that have the app, in the order of their names. */
  having(app: string): readonly string[] {
    return this.list().filter((workspace) => Object.hasOwn(this.file.state.workspaces[workspace]!.apps, app))
  }

  /** Absolute path of what an app keeps in a workspace. Neither an upgrade nor a removal touches it. */
  dataOf(workspace: string, app: string): string {
    return join(this.home, 'workspaces', workspace, 'data', encodeName(app))
  }

  /** Fine to call twice. */
  async add(workspace: string, at: string): Promise<void> {
    await this.change((state) => {
      if (!Object.hasOwn(state.workspaces, workspace)) state.workspaces[workspace] = { addedAt: at, apps: {} }
    })
  }

  async remove(workspace: string): Promise<void> {
    await this.change((state) => {
      delete state.workspaces[workspace]
    })
  }

  async note(workspace: string, app: string, install: AppInstall): Promise<void> {
    await this.change((state) => {
      this.known(workspace)
      state.workspaces[workspace]!.apps[app] = installSchema.parse(install)
    })
  }

  async forget(workspace: string, app: string): Promise<void> {
    await this.change((state) => {
      delete state.workspaces[workspace]?.apps[app]
    })
  }

  /** Tells of every change. Returns what ends it. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private known(workspace: string): State['workspaces'][string] {
    const { workspaces } = this.file.state
    if (Object.hasOwn(workspaces, workspace)) return workspaces[workspace]!
    throw new InstarError(
      'WORKSPACE_UNKNOWN',
      `there is no workspace "${workspace}"${didYouMean(workspace, this.list())}`,
    )
  }

  private async change(work: (state: State) => void): Promise<void> {
    await this.file.change(work)
    for (const listener of this.listeners) listener()
  }
}
