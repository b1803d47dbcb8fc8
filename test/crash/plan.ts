import { dirname } from 'node:path'
import type { DaemonCommand } from '../../src/sessions/protocol.ts'

/** In a plan or an address, stands for the folder that the home of a life is in: each life has one of its own. */
export const besideHome = '${directory}'

export const placed = (text: string, home: string) => text.replaceAll(besideHome, dirname(home))

/** What the program of the crash tests does. Plain data: it travels as an argument. */
export interface Plan {
  readonly machine: string
  /** Of the run. Default `tool`. */
  readonly key?: string
  readonly input: unknown
  /** For `parseConfig`; one runtime, `tool`. */
  readonly config: unknown
  /** The machine's time runs `pace` times as fast as the wall's, from this moment on. */
  readonly since: number
  readonly pace: number
  readonly rules: readonly Rule[]
  readonly sends: readonly Send[]
  /** Beside `sends`: one after the other, each once. */
  readonly script?: readonly Scene[]
  /** What its session daemons are: see `ControllerOptions.sessions`. */
  readonly daemons?: { readonly command: DaemonCommand; readonly keeper: string | null }
}

/** Something that happens as soon as the machine is in a state whose name begins so. */
export interface Scene {
  readonly when: string
  /** An event from outside; */
  readonly event?: { readonly type: string; readonly [field: string]: unknown }
  /** or what befalls the session daemon. The machine is to notice it before the next scene begins. */
  readonly befalls?: 'it is killed' | 'it is updated'
}

/** An event from outside, sent once. */
export interface Send {
  readonly event: string
  /** When the machine is in a state whose name begins so, */
  readonly when: string
  /** and has started so many processes. */
  readonly processes?: number
}

/** How one effect departs from what it does by itself. */
export interface Rule {
  readonly effect: string
  /** Only where the machine is in a state whose name begins so. */
  readonly in?: string
  /** Only as long as no second process was started. */
  readonly first?: true
  /** False: where it is to fail, it does not even begin. */
  readonly performs?: false
  /** Then it waits until a stop is wanted, or until so many scenes are over. */
  readonly waits?: true | number
  /** Then it fails with this, the first `times` times. */
  readonly fails?: { readonly code: string; readonly fault?: string }
  readonly times?: number
  /** Else it answers this. */
  readonly answers?: unknown
}
