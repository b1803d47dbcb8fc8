import type { AnyStateMachine } from 'xstate'
import { machines } from '../machines/index.ts'
import { InstarError } from './errors.ts'
import { frozen } from './frozen.ts'
import { held } from './held.ts'
import { didYouMean } from './nearest.ts'
import { Definitions } from './run/definitions.ts'
import type { AnyFlow, Effect } from './run/flow.ts'
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
  private readonly names: ReadonlySet<string>

  constructor(
    flows: readonly AnyFlow[],
    private readonly interpreter: Interpreter,
  ) {
    this.machines = Object.fromEntries(flows.map(({ machine }) => [machine.id, machine]))
    this.names = new Set(flows.flatMap(namesOf))
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
    return frozen(await this.interpreter.start(machine, options))
  }

  /**
   * Gives an event to a run; resolves with the state after it, when that is durable.
   *
   * @param options.id The host's own id of this event, unlike that of any other: sent again, it is not taken again.
   * @throws {InstarError} `RUN_UNKNOWN`; `RUN_ENDED`; `EVENT_REFUSED`; `HOME_OBSERVED`; `CONTROLLER_CLOSED`.
   */
  async send(run: string, event: { readonly type: string }, options: { readonly id?: string } = {}): Promise<RunState> {
    this.assertOwn(run)
    return frozen(await this.interpreter.send(run, event, options))
  }

  /**
   * Resolves when the run has ended, well or not: look at `status`.
   *
   * @throws {InstarError} `RUN_UNKNOWN`; `CONTROLLER_CLOSED`. What `signal` aborts it with.
   */
  async ended(run: string, options: { readonly signal?: AbortSignal } = {}): Promise<RunState> {
    this.assertOwn(run)
    return frozen(await held(this.interpreter.ended(run, options), options.signal))
  }

  /** The run of this machine and key that goes on, as it is now. */
  active(machine: string, key: string): RunState | undefined {
    return this.names.has(machine) ? frozen(this.interpreter.active(machine, key)) : undefined
  }

  private assertOwn(run: string): void {
    const { machine = '' } = this.interpreter.get(run) ?? {}
    if (!this.names.has(machineName(machine)))
      throw new InstarError('RUN_UNKNOWN', `there is no run '${run}' of a procedure of this host`)
  }
}

const namesOf = ({ machine, retired = [] }: AnyFlow) => [machine, ...retired].map(({ id }) => id)

/**
 * The procedures as they are run: what a machine asks of an effect is part of its state, and not the effect's to change.
 *
 * @throws {InstarError} `MACHINE_INVALID`: what cannot be replayed, and every fault of it; a name that is one of ours, or that
 *   no address of the console can hold.
 */
export function checkedProcedures(flows: readonly AnyFlow[]): readonly AnyFlow[] {
  for (const name of flows.flatMap(namesOf)) {
    if (Object.hasOwn(machines, name))
      throw new InstarError('MACHINE_INVALID', `"${name}" is a machine of Instar's own`)
    if (!/^[\w.-]{1,64}$/.test(name))
      throw new InstarError('MACHINE_INVALID', `"${name}" is no name of a procedure: letters, digits, - . _`)
  }
  new Definitions(flows)
  return flows.map((flow) => ({ ...flow, effects: withFrozenInput(flow.effects) }))
}

function withFrozenInput(effects: AnyFlow['effects']): AnyFlow['effects'] {
  const served = Object.entries(effects).map(([name, effect]): [string, Effect<unknown, unknown>] => [
    name,
    (input, context) => effect(frozen(input), context),
  ])
  return Object.fromEntries(served)
}
