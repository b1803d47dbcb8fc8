import { EventEmitter, once } from 'node:events'
import type { Served } from '../../src/control/verbs.ts'
import { InstarError } from '../../src/errors.ts'
import type { JournalRecord } from '../../src/journal/cursor.ts'
import type { Asked, CheckResult } from '../../src/managed-runtime.ts'

type Runtime = ReturnType<Served['runtime']>

/** A controller of one runtime, `tool`, whose check does what a test says, and whose journal is a list. */
export class FakeController implements Served {
  readonly records: JournalRecord[] = []
  /** Replaced by tests. */
  check: (asked: Asked) => Promise<CheckResult> = async () => staged
  private readonly appended = new EventEmitter()

  constructor(readonly home: string) {}

  readonly url = null

  append(count = 1): void {
    for (let left = count; left > 0; left--) this.records.push({ seq: this.records.length + 1 })
    this.appended.emit('append')
  }

  readonly journal: Served['journal'] = this.makeJournal()

  private makeJournal(): Served['journal'] {
    const self = this
    return {
      get lastSeq() {
        return self.records.length
      },
      async *read({ from = 0 } = {}) {
        yield* self.records.filter(({ seq }) => seq >= from)
      },
      async *follow({ from = 0, signal } = {}) {
        for (let next = Math.max(1, from); !signal?.aborted; ) {
          const record = self.records[next - 1]
          if (record === undefined) await once(self.appended, 'append', { signal }).catch(() => {})
          else {
            next += 1
            yield record
          }
        }
      },
    }
  }

  state() {
    return { version: '0.0.0', home: this.home, lastSeq: this.records.length, runtimes: {}, runs: [], failure: null }
  }

  runtimes() {
    return ['tool']
  }

  readonly plugins = { list: async () => [] } as Partial<Served['plugins']> as Served['plugins']

  readonly apps = { list: async () => [] } as Partial<Served['apps']> as Served['apps']

  get access(): Served['access'] {
    throw new InstarError('TOKEN_UNKNOWN', 'there is none here')
  }

  get workspaces(): Served['workspaces'] {
    throw new InstarError('WORKSPACE_UNKNOWN', 'there is none here')
  }

  get credentials(): Served['credentials'] {
    throw new InstarError('CREDENTIAL_UNKNOWN', 'there is none here')
  }

  readonly daemons: Served['daemons'] = {
    names: [],
    get: () => {
      throw new InstarError('DAEMON_UNKNOWN', 'there is none here')
    },
  }

  runtime(name: string): Runtime {
    if (name !== 'tool') throw new InstarError('RUNTIME_UNKNOWN', `no runtime "${name}"`, { details: { name } })
    return {
      check: (asked = {}) => this.check(asked),
      ban: async () => {},
      prune: async () => ({ removed: ['1.0.0'] }),
    } as Partial<Runtime> as Runtime
  }

  runs() {
    return []
  }

  run() {
    return undefined
  }

  async stateAt(): Promise<never> {
    throw new InstarError('RUN_UNKNOWN', 'there are no runs')
  }

  notices() {
    return []
  }
}

export const staged: CheckResult = { runtime: 'tool', outcome: 'staged', version: '1.1.0', from: '1.0.0' }
