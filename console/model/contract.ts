/** What the controller tells the page. Types only: they are the controller's own, so that the two cannot part. */
import type { VerbResult } from '../../src/control/verbs.ts'
import type { MachineDescription } from '../../src/diagram/describe.ts'
import type { ErrorRecord } from '../../src/errors.ts'
import type { RunState } from '../../src/run/run.ts'
import type { SessionInfo } from '../../src/sessions/protocol.ts'

export type { VerbName, VerbParams, VerbResult } from '../../src/control/verbs.ts'
export type {
  EdgeDescription,
  MachineDescription,
  NodeDescription,
} from '../../src/diagram/describe.ts'
export type { ErrorRecord } from '../../src/errors.ts'
export type { AppStatus, InstanceStatus } from '../../src/managed-apps.ts'
export type { DaemonStatus } from '../../src/managed-daemon.ts'
export type { PluginStatus } from '../../src/managed-plugins.ts'
export type { RuntimeStatus } from '../../src/managed-runtime.ts'
export type { RunState } from '../../src/run/run.ts'
export type { SessionInfo } from '../../src/sessions/protocol.ts'

export interface Visitor {
  /** `owner` is the user whose home it is. */
  readonly role: 'owner' | 'org_admin' | 'workspace_admin' | 'member'
  /** The one workspace that the token is for; null for all. */
  readonly workspace: string | null
}

export interface Hello {
  readonly version: string
  readonly home: string
  readonly lastSeq: number
}

/** What is not for the visitor's role is null or not there. */
export type Status = Partial<{ [Part in keyof Told]: Told[Part] | null }>
type Told = VerbResult<'status'> & { readonly workspaces: readonly string[] }

export interface RecordTold {
  readonly seq: number
  readonly at: number
  readonly run: string
  /** `name@version`. Null, like the key and the state, where the definition leads elsewhere by now. */
  readonly machine: string | null
  readonly key: string | null
  readonly event: { readonly type: string; readonly [field: string]: unknown }
  /** What the run came to, where it ended here and says so. */
  readonly outcome?: string | null
  readonly ends?: 'done' | 'error' | null
  /** The statechart's value after it. */
  readonly state: unknown
  /** What should be running after it. */
  readonly effects: readonly (string | { readonly src: string })[]
}

export interface ProgressTold {
  readonly run: string
  readonly effect: string
  readonly data: unknown
}

export interface MachineTold {
  readonly name: string
  readonly title: string
  readonly description: string | null
  readonly definition: MachineDescription
  /** Where its drawing is; null where the page has to draw it. */
  readonly svg: string | null
}

export interface Moment {
  readonly state: RunState
  /** The run before that record; null before its first. */
  readonly previous: RunState | null
  readonly diff: readonly Difference[]
}

/** One place where two states differ. What is missing there is absent. */
export interface Difference {
  /** Such as `context.results[0].outcome`. */
  readonly path: string
  readonly before?: unknown
  readonly after?: unknown
}

export interface DaemonSessions {
  readonly name: string
  readonly sessions: readonly SessionInfo[]
  /** Why they could not be listed. */
  readonly failure: Failed | null
}

export type Failed = Pick<ErrorRecord, 'message'> & Partial<Pick<ErrorRecord, 'code' | 'hint'>>
