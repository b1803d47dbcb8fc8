import type { AnyStateMachine } from 'xstate'
import { machines } from '../machines/index.ts'
import { InstarError } from './errors.ts'
import { didYouMean } from './nearest.ts'
import type { AnyFlow } from './run/flow.ts'
import type { Interpreter, StartOptions } from './run/interpreter.ts'
import { machineName } from './run/record.ts'
import type { RunState } from './run/run.ts'

/**
 * The procedures of a host's own: its statecharts, run as the controller's own are. Each cause is journaled before it shows,
 * they go on where they were after a crash, and the console draws them. Begun and steered here alone: those of the
 * controller have verbs that look at what they are given.
 */
export class Procedures {
  /** The statecharts, by name. */
  readonly machines: Readonly<Record<string, AnyStateMachine>>

  constructor(
    flows: readonly AnyFlow[],
    private readonly interpreter: Interpreter,
  ) {
    this.machines = Object.fromEntries(flows.map(({ machine }) => [machine.id, machine]))
  }

  /**
   * Begins a run of the newest version of `machine`, or finds the one under way; resolves when that is durable.
   *
   * @throws {InstarError} `MACHINE_UNKNOWN`, with the nearest name; `RUN_BUSY`; `EVENT_REFUSED` when the machine cannot
   *   begin with this input; `HOME_OBSERVED`; `CONTROLLER_CLOSED`.
   */
  async start(machine: string, options: StartOptions): Promise<RunState> {
    if (!Object.hasOwn(this.machines, machine))
      throw new InstarError(
        'MACHINE_UNKNOWN',
        `this host has no procedure "${machine}"${didYouMean(machine, Object.keys(this.machines))}`,
        { hint: 'Name one that the controller was opened with.' },
      )
    return this.interpreter.start(machine, options)
  }

  /**
   * Gives an event to a run; resolves with the state after it, when that is durable.
   *
   * @param options.id The host's own id of this event: sent again, it is not taken again.
   * @throws {InstarError} `RUN_UNKNOWN`; `RUN_ENDED`; `EVENT_REFUSED`; `HOME_OBSERVED`; `CONTROLLER_CLOSED`.
   */
  async send(run: string, event: { readonly type: string }, options: { readonly id?: string } = {}): Promise<RunState> {
    this.assertOwn(run)
    return this.interpreter.send(run, event, options)
  }

  /**
   * Resolves when the run has ended, well or not: look at `status`.
   *
   * @throws {InstarError} `RUN_UNKNOWN`; `CONTROLLER_CLOSED`. What `signal` aborts it with.
   */
  async ended(run: string, options: { readonly signal?: AbortSignal } = {}): Promise<RunState> {
    this.assertOwn(run)
    return this.interpreter.ended(run, options)
  }

  /** The run of this machine and key that goes on, as it is now. */
  active(machine: string, key: string): RunState | undefined {
    return Object.hasOwn(this.machines, machine) ? this.interpreter.active(machine, key) : undefined
  }

  private assertOwn(run: string): void {
    const { machine = '' } = this.interpreter.get(run) ?? {}
    if (!Object.hasOwn(this.machines, machineName(machine)))
      throw new InstarError('RUN_UNKNOWN', `there is no run '${run}' of a procedure of this host`)
  }
}

/** @throws {InstarError} `MACHINE_INVALID` where one has a name that is taken, or that no address of the console can hold. */
export function assertOwnNames(flows: readonly AnyFlow[]): void {
  for (const { machine } of flows) {
    if (Object.hasOwn(machines, machine.id))
      throw new InstarError('MACHINE_INVALID', `"${machine.id}" is a machine of Instar's own`)
    if (!/^[\w.-]{1,64}$/.test(machine.id))
      throw new InstarError('MACHINE_INVALID', `"${machine.id}" is no name of a procedure: letters, digits, - . _`)
  }
}
