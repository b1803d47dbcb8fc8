import type { AnyStateMachine } from 'xstate'
import { InstarError } from '../errors.ts'
import type { AnyFlow, Effect, Migration } from './flow.ts'
import { lintMachine } from './lint.ts'
import { PureMachine } from './pure-machine.ts'
import { machineRef } from './record.ts'

/** All definitions that are here, by `name@version`, and which of them new runs begin with. */
export class Definitions {
  private readonly machines = new Map<string, AnyStateMachine>()
  /** Made when one is asked for: most processes have runs of one or two machines, and to make them all takes longer. */
  private readonly pure = new Map<string, PureMachine>()
  /** By name, the `name@version`. */
  private readonly current = new Map<string, string>()
  private readonly effects = new Map<string, AnyFlow['effects']>()
  private readonly migrations = new Map<string, Migration>()

  /** @throws {InstarError} `MACHINE_INVALID`, naming every fault of every machine. */
  constructor(flows: readonly AnyFlow[]) {
    const faults: string[] = []
    for (const flow of flows) {
      for (const machine of [flow.machine, ...(flow.retired ?? [])]) {
        const ref = machineRef(machine)
        faults.push(...lintMachine(machine).map((fault) => `${ref}: ${fault}`))
        if (this.machines.has(ref)) faults.push(`${ref} is there twice`)
        for (const src of Object.keys(machine.implementations.actors))
          if (typeof flow.effects[src] !== 'function') faults.push(`${ref}: no function serves the effect '${src}'`)
        this.machines.set(ref, machine)
        this.effects.set(ref, flow.effects)
      }
      const { id } = flow.machine
      if (this.current.has(id)) faults.push(`two flows are called '${id}'`)
      this.current.set(id, machineRef(flow.machine))
    }
    for (const flow of flows)
      for (const migration of flow.migrations ?? []) {
        if (this.migrations.has(migration.from)) faults.push(`two migrations begin at ${migration.from}`)
        this.migrations.set(migration.from, migration)
      }
    for (const { from } of this.migrations.values()) {
      const target = this.migrationTarget(from)
      if (target === undefined || !this.machines.has(target))
        faults.push(`the migrations from ${from} do not end at a machine that is here`)
    }
    if (faults.length > 0) throw new InstarError('MACHINE_INVALID', faults.join('; '), { details: { faults } })
  }

  get(ref: string): PureMachine | undefined {
    const machine = this.machines.get(ref)
    if (machine === undefined) return undefined
    const pure = this.pure.get(ref) ?? new PureMachine(machine)
    this.pure.set(ref, pure)
    return pure
  }

  /** The version that new runs of this name begin with. */
  latest(name: string): PureMachine | undefined {
    const ref = this.current.get(name)
    return ref === undefined ? undefined : this.get(ref)
  }

  effect(ref: string, src: string): Effect<any, any> {
    return this.effects.get(ref)![src]!
  }

  /** The migrations that a run of `ref` takes, in order; empty when it is pinned. */
  migrationsFrom(ref: string): Migration[] {
    const path: Migration[] = []
    for (let step = this.migrations.get(ref); step !== undefined; step = this.migrations.get(step.to)) {
      if (path.includes(step)) break // a circle; the constructor refuses it
      path.push(step)
    }
    return path
  }

  private migrationTarget(from: string): string | undefined {
    const target = this.migrationsFrom(from).at(-1)!.to
    return this.migrations.has(target) ? undefined : target
  }
}
