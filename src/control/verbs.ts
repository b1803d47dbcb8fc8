import * as z from 'zod'
import { daemonName, runtimeName, version } from '../config.ts'
import type { Controller } from '../controller.ts'
import { InstarError } from '../errors.ts'
import type { JournalRecord } from '../journal/cursor.ts'
import type { ManagedAccess } from '../managed-access.ts'
import type { ManagedApps, ManagedWorkspaces } from '../managed-apps.ts'
import type { ManagedCredentials } from '../managed-credentials.ts'
import type { DaemonStatus, ManagedDaemon } from '../managed-daemon.ts'
import type { ManagedPlugins } from '../managed-plugins.ts'
import type { ManagedRuntime, RuntimeStatus } from '../managed-runtime.ts'
import { didYouMean } from '../nearest.ts'

/**
 * What can be asked of a controller, in one table: the command line, the socket and the console all go through it. A verb
 * takes plain data and answers with plain data.
 */
export interface VerbContext {
  /** Aborts when the one who asked has gone or no longer wants it. What others asked for too goes on. */
  readonly signal: AbortSignal
  /** Shows how far it has come. May be dropped where the reader is slow. */
  readonly progress: (data: unknown) => void
  /** Gives a part of the answer. Resolves once it is on its way, so that awaiting it keeps a slow reader's pace. */
  readonly deliver: (part: unknown) => Promise<void>
}

/** What the verbs need of a controller. */
export type Served = Pick<
  Controller,
  'home' | 'url' | 'journal' | 'state' | 'runtimes' | 'runs' | 'run' | 'stateAt' | 'notices'
> & {
  runtime(
    name: string,
  ): Pick<ManagedRuntime, 'status' | 'check' | 'launch' | 'stop' | 'rollback' | 'ban' | 'unban' | 'prune'>
  readonly plugins: Pick<
    ManagedPlugins,
    'installEach' | 'list' | 'verify' | 'rollback' | 'remove' | 'sweep' | 'check' | 'follow'
  >
  readonly apps: Pick<
    ManagedApps,
    | 'install'
    | 'configure'
    | 'restart'
    | 'list'
    | 'check'
    | 'upgrade'
    | 'beginUpgrade'
    | 'pin'
    | 'unpin'
    | 'rollback'
    | 'remove'
    | 'call'
    | 'logs'
    | 'endpoint'
    | 'endpoints'
    | 'isAdopted'
  >
  readonly workspaces: Pick<ManagedWorkspaces, 'list' | 'add' | 'remove'>
  readonly access: Pick<ManagedAccess, 'authorise' | 'recognise' | 'refuse' | 'add' | 'list' | 'remove' | 'onRemove'>
  readonly credentials: Pick<ManagedCredentials, 'set' | 'list' | 'remove'>
  readonly daemons: {
    readonly names: readonly string[]
    get(name?: string): Pick<ManagedDaemon, 'name' | 'status' | 'start' | 'update' | 'restart' | 'stop'>
  }
}

interface Verb<Params extends z.ZodType, Result> {
  readonly params: Params
  /** Ends by its signal only; nobody waits for it. */
  readonly endless?: true
  /** Is told, not asked: nobody waits for what came of it. */
  readonly told?: true
  perform(controller: Served, params: z.output<Params>, context: VerbContext): Promise<Result>
}

const verb = <Params extends z.ZodType, Result>(definition: Verb<Params, Result>) => definition

const none = z.strictObject({})
const named = z.strictObject({ name: runtimeName })
const oneDaemon = z.strictObject({ name: daemonName.optional() })
const sequence = z.int().min(0)
const onTarget = z.strictObject({ target: z.string().min(1).max(4096).optional() })
const onePlugin = onTarget.extend({ name: z.string().min(1).max(214) })

/** A token, where one is shown; see `ManagedAccess`. */
const shown = z.strictObject({ token: z.string().min(1).max(1000).optional() })
const appName = z.string().min(1).max(214)
const workspaceName = z.string().min(1).max(100)
const credentialName = z.string().min(1).max(256)
const words = z.record(z.string().min(1).max(255), z.string().max(32_768))
/** Several values for one name. */
const settings = z.record(z.string().min(1).max(255), z.array(z.string().max(4096)).max(100))

const recordsPerAnswerMax = 1000
const noticesShown = 20

async function listRuntimes(controller: Served): Promise<{ runtimes: RuntimeStatus[] }> {
  return { runtimes: await Promise.all(controller.runtimes().map((name) => controller.runtime(name).status())) }
}

async function listDaemons({ daemons }: Served, signal: AbortSignal): Promise<{ daemons: DaemonStatus[] }> {
  return { daemons: await Promise.all(daemons.names.map((name) => daemons.get(name).status({ signal }))) }
}

const upgrading = shown.extend({
  name: appName,
  to: z.string().min(1).max(4096).optional(),
  /** What a relative path in `to` is resolved against. */
  folder: z.string().max(4096).optional(),
})

export const verbs = {
  status: verb({
    params: none,
    async perform(controller, _, { signal }) {
      const { runs, failure } = controller.state()
      const [{ runtimes }, { daemons }, plugins, apps] = await Promise.all([
        listRuntimes(controller),
        listDaemons(controller, signal),
        // Of this machine: those elsewhere are asked for by name, since that takes a while.
        controller.plugins.list({ signal }),
        controller.apps.list(),
      ])
      const notices = controller.notices().slice(-noticesShown)
      return { url: controller.url, runtimes, daemons, plugins, apps, runs, failure, notices }
    },
  }),
  'runtime.list': verb({
    params: none,
    perform: listRuntimes,
  }),
  'runtime.status': verb({
    params: named,
    perform: (controller, { name }) => controller.runtime(name).status(),
  }),
  'runtime.check': verb({
    params: named.extend({ allowOlder: z.boolean().default(false) }),
    perform: (controller, { name, allowOlder }, { signal, progress }) =>
      controller.runtime(name).check({ allowOlder, signal, onProgress: progress }),
  }),
  'runtime.launch': verb({
    params: named.extend({ args: z.array(z.string().max(4096)).max(1000).default([]) }),
    async perform(controller, { name, args }, { signal, progress }) {
      const running = await controller.runtime(name).launch({ args, signal, onProgress: progress })
      const { version, pid, url, arm, insteadOf } = running
      return { runtime: name, version, pid, url, arm, insteadOf }
    },
  }),
  'runtime.stop': verb({
    params: named,
    async perform(controller, { name }, { signal }) {
      const runtime = controller.runtime(name)
      const { running } = await runtime.status()
      await runtime.stop({ signal })
      return { runtime: name, stopped: running !== null, version: running?.version ?? null, pid: running?.pid ?? null }
    },
  }),
  'runtime.rollback': verb({
    params: named,
    perform: async (controller, { name }, { signal }) => ({
      runtime: name,
      ...(await controller.runtime(name).rollback({ signal })),
    }),
  }),
  'runtime.ban': verb({
    params: named.extend({ version, reason: z.string().min(1).max(1000).optional() }),
    async perform(controller, { name, version, reason }, { signal }) {
      await controller.runtime(name).ban(version, reason, { signal })
      return { runtime: name, version, banned: true }
    },
  }),
  'runtime.unban': verb({
    params: named.extend({ version }),
    async perform(controller, { name, version }, { signal }) {
      await controller.runtime(name).unban(version, { signal })
      return { runtime: name, version, banned: false }
    },
  }),
  'runtime.prune': verb({
    params: named,
    perform: async (controller, { name }, { signal }) => ({
      runtime: name,
      ...(await controller.runtime(name).prune({ signal })),
    }),
  }),
  'daemon.list': verb({
    params: none,
    perform: (controller, _, { signal }) => listDaemons(controller, signal),
  }),
  /** Without a name, the first of the configuration; so in all that follow. */
  'daemon.status': verb({
    params: oneDaemon,
    perform: ({ daemons }, { name }, { signal }) => daemons.get(name).status({ signal }),
  }),
  'daemon.start': verb({
    params: oneDaemon,
    async perform({ daemons }, { name }, { signal }) {
      const daemon = daemons.get(name)
      return { daemon: daemon.name, ...(await daemon.start({ signal })) }
    },
  }),
  'daemon.update': verb({
    params: oneDaemon,
    perform: ({ daemons }, { name }, { signal }) => daemons.get(name).update({ signal }),
  }),
  /** Ends every session of it; whoever asks has made sure that this is wanted. */
  'daemon.restart': verb({
    params: oneDaemon,
    async perform({ daemons }, { name }, { signal }) {
      const daemon = daemons.get(name)
      const { ended, daemon: started } = await daemon.restart({ signal })
      return { daemon: daemon.name, ended, ...started }
    },
  }),
  /** Ends every session of it; whoever asks has made sure that this is wanted. */
  'daemon.stop': verb({
    params: oneDaemon,
    async perform({ daemons }, { name }, { signal }) {
      const daemon = daemons.get(name)
      return { daemon: daemon.name, ...(await daemon.stop({ signal })) }
    },
  }),
  'plugin.install': verb({
    params: onTarget.extend({
      specs: z.array(z.string().min(1).max(4096)).min(1).max(100),
      folder: z.string().max(4096),
      allOrNothing: z.boolean().default(false),
    }),
    perform: async ({ plugins }, { specs, target, folder, allOrNothing }, { signal, progress }) => ({
      plugins: await plugins.installEach(specs, { target, folder, allOrNothing, signal, onProgress: progress }),
    }),
  }),
  'plugin.list': verb({
    params: onTarget,
    perform: async ({ plugins }, { target }, { signal }) => ({ plugins: await plugins.list({ target, signal }) }),
  }),
  'plugin.verify': verb({
    params: onTarget.extend({ name: z.string().min(1).max(214).optional() }),
    perform: async ({ plugins }, { name, target }, { signal }) => ({
      plugins: await plugins.verify(name, { target, signal }),
    }),
  }),
  'plugin.rollback': verb({
    params: onePlugin,
    perform: ({ plugins }, { name, target }, { signal, progress }) =>
      plugins.rollback(name, { target, signal, onProgress: progress }),
  }),
  'plugin.remove': verb({
    params: onePlugin,
    perform: ({ plugins }, { name, target }, { signal }) => plugins.remove(name, { target, signal }),
  }),
  'plugin.sweep': verb({
    params: onTarget,
    perform: ({ plugins }, { target }, { signal }) => plugins.sweep({ target, signal }),
  }),
  /** With `apply`, installs what is behind. */
  'plugin.check': verb({
    params: z.strictObject({ apply: z.boolean().default(false) }),
    perform: async ({ plugins }, { apply }, { signal, progress }) => ({
      plugins: apply ? await plugins.follow({ signal, onProgress: progress }) : await plugins.check({ signal }),
    }),
  }),
  'workspace.list': verb({
    params: shown,
    async perform({ access, workspaces }, { token }) {
      await access.authorise(token, { action: 'list' })
      return { workspaces: workspaces.list() }
    },
  }),
  'workspace.add': verb({
    params: shown.extend({ id: workspaceName }),
    async perform({ access, workspaces }, { token, id }) {
      await access.authorise(token, { action: 'add a workspace', workspace: id })
      await workspaces.add(id)
      return { workspace: id }
    },
  }),
  'workspace.remove': verb({
    params: shown.extend({ id: workspaceName }),
    async perform({ access, workspaces }, { token, id }) {
      await access.authorise(token, { action: 'remove a workspace', workspace: id })
      await workspaces.remove(id)
      return { workspace: id }
    },
  }),
  'app.install': verb({
    params: shown.extend({
      spec: z.string().min(1).max(4096),
      workspace: workspaceName,
      args: z.array(z.string().max(4096)).max(100).default([]),
      env: words.default({}),
      credentials: words.default({}),
      config: settings.default({}),
      folder: z.string().max(4096).optional(),
    }),
    async perform({ access, apps }, { token, spec, ...installing }, { signal, progress }) {
      const asked = { action: 'install', app: spec, workspace: installing.workspace }
      const principal = await access.authorise(token, asked)
      // Which version the organisation has is not for a workspace to decide.
      const isDeciding = principal !== null && principal.role !== 'org_admin' && !(await apps.isAdopted(spec))
      if (isDeciding) throw await access.refuse(principal, asked)
      return apps.install(spec, { ...installing, signal, onProgress: progress })
    },
  }),
  'app.configure': verb({
    params: shown.extend({
      name: appName,
      workspace: workspaceName,
      args: z.array(z.string().max(4096)).max(100).optional(),
      env: words.optional(),
      credentials: words.optional(),
      config: settings.optional(),
    }),
    async perform({ access, apps }, { token, name: app, ...configuring }, { signal, progress }) {
      await access.authorise(token, { action: 'configure', app, workspace: configuring.workspace })
      return apps.configure(app, { ...configuring, signal, onProgress: progress })
    },
  }),
  'app.restart': verb({
    params: shown.extend({ name: appName, workspace: workspaceName }),
    async perform({ access, apps }, { token, name: app, workspace }, { signal }) {
      await access.authorise(token, { action: 'restart', app, workspace })
      return apps.restart({ app, workspace }, { signal })
    },
  }),
  'app.list': verb({
    params: shown,
    async perform({ access, apps }, { token }) {
      await access.authorise(token, { action: 'list' })
      return { apps: await apps.list() }
    },
  }),
  'app.check': verb({
    params: shown.extend({ name: appName.optional() }),
    async perform({ access, apps }, { token, name: app }, { signal }) {
      await access.authorise(token, { action: 'check', app })
      return { apps: await apps.check(app, { signal }) }
    },
  }),
  'app.upgrade': verb({
    params: upgrading,
    async perform({ access, apps }, { token, name: app, ...wanted }, { signal, progress }) {
      await access.authorise(token, { action: 'upgrade', app })
      return apps.upgrade(app, { ...wanted, signal, onProgress: progress })
    },
  }),
  'app.beginUpgrade': verb({
    params: upgrading,
    async perform({ access, apps }, { token, name: app, ...wanted }) {
      await access.authorise(token, { action: 'upgrade', app })
      return apps.beginUpgrade(app, wanted)
    },
  }),
  'app.rollback': verb({
    params: shown.extend({ name: appName }),
    async perform({ access, apps }, { token, name: app }, { signal, progress }) {
      await access.authorise(token, { action: 'roll back', app })
      return apps.rollback(app, { signal, onProgress: progress })
    },
  }),
  'app.pin': verb({
    params: shown.extend({ name: appName, note: z.string().max(1000).optional() }),
    async perform({ access, apps }, { token, name: app, note }) {
      await access.authorise(token, { action: 'pin', app })
      return apps.pin(app, { note })
    },
  }),
  'app.unpin': verb({
    params: shown.extend({ name: appName }),
    async perform({ access, apps }, { token, name: app }) {
      await access.authorise(token, { action: 'unpin', app })
      return apps.unpin(app)
    },
  }),
  'app.remove': verb({
    params: shown.extend({ name: appName, workspace: workspaceName }),
    async perform({ access, apps }, { token, name: app, workspace }, { signal }) {
      await access.authorise(token, { action: 'remove', app, workspace })
      return apps.remove(app, { workspace, signal })
    },
  }),
  'app.call': verb({
    params: shown.extend({
      workspace: workspaceName,
      app: appName,
      tool: z.string().min(1).max(256),
      args: z.record(z.string(), z.unknown()).default({}),
    }),
    async perform({ access, apps }, { token, tool, args, ...place }, { signal }) {
      await access.authorise(token, { action: 'call', ...place })
      return { answer: await apps.call(place, tool, args, { signal }) }
    },
  }),
  'app.logs': verb({
    params: shown.extend({ workspace: workspaceName, app: appName }),
    async perform({ access, apps }, { token, ...place }) {
      await access.authorise(token, { action: 'logs', ...place })
      return apps.logs(place)
    },
  }),
  'access.add': verb({
    params: shown.extend({
      role: z.enum(['org_admin', 'workspace_admin', 'member']),
      workspace: workspaceName.optional(),
      note: z.string().max(1000).optional(),
    }),
    async perform({ access }, { token, role, ...about }) {
      await access.authorise(token, { action: 'make tokens', workspace: about.workspace })
      return access.add(role, about)
    },
  }),
  'access.list': verb({
    params: shown,
    async perform({ access }, { token }) {
      await access.authorise(token, { action: 'see tokens' })
      return { tokens: access.list() }
    },
  }),
  'access.remove': verb({
    params: shown.extend({ id: z.string().min(1).max(100) }),
    async perform({ access }, { token, id }) {
      await access.authorise(token, { action: 'remove tokens' })
      await access.remove(id)
      return { token: id }
    },
  }),
  'credential.set': verb({
    params: shown.extend({
      name: credentialName,
      workspace: workspaceName,
      secret: z.string(),
      note: z.string().max(1000).optional(),
    }),
    async perform({ access, credentials }, { token, name, workspace, secret, note }) {
      await access.authorise(token, { action: 'set credentials', workspace })
      await credentials.set(name, secret, { workspace, note })
      return { credential: name, workspace }
    },
  }),
  'credential.list': verb({
    params: shown.extend({ workspace: workspaceName.optional() }),
    async perform({ access, credentials }, { token, workspace }) {
      const principal = await access.authorise(token, { action: 'see credentials', workspace })
      return { credentials: credentials.list({ workspace: workspace ?? principal?.workspace ?? undefined }) }
    },
  }),
  'credential.remove': verb({
    params: shown.extend({ name: credentialName, workspace: workspaceName }),
    async perform({ access, credentials }, { token, name, workspace }) {
      await access.authorise(token, { action: 'remove credentials', workspace })
      await credentials.remove(name, { workspace })
      return { credential: name, workspace }
    },
  }),
  /** Delivers `{ session }`, and then what an MCP server says: of a workspace, or without one, of the organisation. */
  'mcp.open': verb({
    params: shown.extend({ workspace: workspaceName.optional() }),
    endless: true,
    async perform({ access, apps }, { token, workspace }, { signal, deliver }) {
      await access.authorise(token, { action: workspace === undefined ? 'manage apps' : 'connect', workspace })
      await apps.endpoints.open(await apps.endpoint(workspace), deliver, signal)
      return {}
    },
  }),
  'mcp.send': verb({
    params: z.strictObject({ session: z.string().min(1).max(100), message: z.unknown() }),
    told: true,
    async perform({ apps }, { session, message }) {
      apps.endpoints.receive(session, message)
      return {}
    },
  }),
  /** At most `limit` records from `from` on; 0 is the first one that is still there. */
  'journal.read': verb({
    params: z.strictObject({
      from: sequence,
      limit: z.int().min(1).max(recordsPerAnswerMax).default(recordsPerAnswerMax),
    }),
    async perform(controller, { from, limit }) {
      const records: JournalRecord[] = []
      for await (const record of controller.journal.read({ from })) {
        records.push(record)
        if (records.length === limit) break
      }
      return { records, lastSeq: controller.journal.lastSeq }
    },
  }),
  /** Delivers every record from `from` on. */
  'journal.follow': verb({
    params: z.strictObject({ from: sequence }),
    endless: true,
    async perform(controller, { from }, { signal, deliver }) {
      for await (const record of controller.journal.follow({ from, signal })) await deliver(record)
      signal.throwIfAborted()
      return { lastSeq: controller.journal.lastSeq }
    },
  }),
  'journal.runs': verb({
    params: none,
    perform: async (controller) => ({ runs: controller.runs() }),
  }),
  'journal.show': verb({
    params: z.strictObject({ run: z.string().min(1).max(256), at: sequence.optional() }),
    async perform(controller, { run, at }) {
      if (at !== undefined) return controller.stateAt(run, at)
      const state = controller.run(run)
      if (state !== undefined) return state
      const known = controller.runs().map((other) => other.run)
      throw new InstarError('RUN_UNKNOWN', `there is no run "${run}"${didYouMean(run, known)}`)
    },
  }),
}

export type Verbs = typeof verbs
export type VerbName = keyof Verbs
export type VerbParams<Name extends VerbName> = z.input<Verbs[Name]['params']>
export type VerbResult<Name extends VerbName> = Awaited<ReturnType<Verbs[Name]['perform']>>

export function isEndless(name: string): boolean {
  return Object.hasOwn(verbs, name) && 'endless' in verbs[name as VerbName]
}

export function isTold(name: string): boolean {
  return Object.hasOwn(verbs, name) && 'told' in verbs[name as VerbName]
}

/** Whether a verb asks whose token it is shown. The others are for the owner of the home alone. */
export function takesToken(name: VerbName): boolean {
  return 'token' in verbs[name].params.shape
}

/**
 * Performs one verb.
 *
 * @param params Text from outside: read by the verb's schema here, and nowhere else.
 * @throws {InstarError} `VERB_UNKNOWN`, `PARAMETERS_INVALID`, and what the verb itself fails with.
 */
export async function performVerb(
  controller: Served,
  name: string,
  params: unknown,
  context: VerbContext,
): Promise<unknown> {
  if (!Object.hasOwn(verbs, name))
    throw new InstarError('VERB_UNKNOWN', `there is no verb "${name}"${didYouMean(name, Object.keys(verbs))}`)
  const { params: schema, perform } = verbs[name as VerbName] as Verb<z.ZodType, unknown>
  const parsed = schema.safeParse(params)
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) =>
      path.length > 0 ? `${path.join('.')}: ${message}` : message,
    )
    throw new InstarError('PARAMETERS_INVALID', `${name}: ${problems.join('; ')}`, { details: { problems } })
  }
  context.signal.throwIfAborted()
  return perform(controller, parsed.data, context)
}
