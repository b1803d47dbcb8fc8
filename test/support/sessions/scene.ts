import { afterAll, beforeAll, onTestFailed, onTestFinished } from 'vitest'
import type { Session } from '../../../src/sessions/client.ts'
import { type Compiled, compile } from '../compiled.ts'
import { type DaemonProgram, DaemonTrial, type TrialOptions } from './daemon-trial.ts'
import { FollowedText } from './followed.ts'
import { compileNative } from './keeper.ts'
import { TerminalProgram } from './terminal-program.ts'

export interface Scene {
  /** Programs for inside terminals. */
  readonly programs: TerminalProgram
  readonly daemon: DaemonProgram
  readonly compiled: Compiled
  /** A daemon of one's own. Its log is shown where the test fails. */
  start(options?: TrialOptions): Promise<DaemonTrial>
}

/** What the tests of one file share: everything is compiled once, from what is in the tree now. */
export function sessionScene(...alsoCompiled: string[]): Scene {
  let compiled: Compiled
  let programs: TerminalProgram
  beforeAll(async () => {
    ;[compiled, programs] = await Promise.all([
      compile('src/sessions/daemon-main.ts', ...alsoCompiled),
      TerminalProgram.build(),
    ])
    await compileNative(compiled.file('dist/native/keeper'))
  })
  afterAll(async () => {
    await compiled?.remove()
    await programs?.[Symbol.asyncDispose]()
  })
  return {
    get programs() {
      return programs
    },
    get compiled() {
      return compiled
    },
    get daemon() {
      return { main: compiled.file('src/sessions/daemon-main.ts'), keeper: compiled.file('dist/native/keeper') }
    },
    async start(options) {
      const trial = await DaemonTrial.start(this.daemon, options)
      // One that runs out of time does not come to its own end; what else is wrong has been told by then.
      onTestFinished(() => trial[Symbol.asyncDispose]().catch(() => {}))
      onTestFailed(async () => console.error(trial.finalLog || (await trial.log())))
      return trial
    },
  }
}

/** A shell whose answers cannot be mistaken for the echo of what was typed. */
export class TypedShell {
  readonly screen: FollowedText

  constructor(readonly session: Session) {
    this.screen = new FollowedText(session)
  }

  /** Types a line, and resolves when its answer is there: a command that prints `answer`, which the line must not hold. */
  async asks(line: string, answer: string | RegExp): Promise<void> {
    await this.session.write(Buffer.from(`${line}\n`))
    await this.screen.says(answer)
  }
}
