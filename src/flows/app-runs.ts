import type { AppRelease, InstanceAnswer, InstanceContext, UpgradeInput, UpgradeResult } from '../../machines/index.ts'
import { errorFrom, InstarError } from '../errors.ts'
import type { Interpreter } from '../run/interpreter.ts'
import type { RunState } from '../run/run.ts'
import { until } from '../run/until.ts'
import { type AppPlace, type AppWorld, keyOf } from './app-world.ts'

/** How runs of one app machine have others do something. The ids are the effects' keys, so that a crash asks no second time. */
export function appRuns(
  running: () => Promise<Interpreter>,
  policy: UpgradeInput['policy'],
): Pick<AppWorld, 'ask' | 'begin' | 'hasRaised' | 'isDead' | 'raise' | 'restart' | 'releaseIn'> {
  const instanceOf = (interpreter: Interpreter, place: AppPlace) => interpreter.active('app-instance', keyOf(place))

  const ask: AppWorld['ask'] = async (place, id, wish, signal) => {
    const interpreter = await running()
    const instance = instanceOf(interpreter, place)
    if (instance === undefined)
      throw new InstarError('APP_UNKNOWN', `${place.app} has no instance in ${place.workspace}`)
    const { run } = instance
    if (answerIn(instance, id) === undefined) await interpreter.send(run, eventOf(id, wish) as { type: string }, { id })
    const isAnswered = (state: RunState) => state.status !== 'active' || answerIn(state, id) !== undefined
    const state = await until(interpreter, run, isAnswered, { signal })
    const answer = answerIn(state, id)
    if (answer === undefined) throw stopped(place)
    return answer
  }

  return {
    // Effects that go on after a crash begin while the interpreter is still being opened.
    releaseIn: async (place) => {
      const { context } = instanceOf(await running(), place) ?? {}
      return context === undefined ? null : (context as InstanceContext).release
    },

    isDead: async (place) => instanceOf(await running(), place)?.value === 'dead',

    ask,

    restart: async (place, id, signal) => {
      const { outcome, failure } = await ask(place, id, 'restart', signal)
      if (outcome === 'upgraded') return
      throw failure === null ? stopped(place) : errorFrom(failure)
    },

    begin: async (place, release, id, signal) => {
      const interpreter = await running()
      const input = { ...place, release }
      const { run } = await interpreter.start('app-instance', { key: keyOf(place), input, busy: 'join', id })
      const isDecided = ({ status, tags, context }: RunState) =>
        status !== 'active' || tags?.includes('serving') === true || (context as InstanceContext).failure !== null
      const state = await until(interpreter, run, isDecided, { signal })
      const { failure } = state.context as InstanceContext
      if (state.tags?.includes('serving')) return
      throw failure === null ? stopped(place) : errorFrom(failure)
    },

    hasRaised: async (id) => (await running()).takenBy(id) !== undefined,

    raise: async (app, wanted, id, signal) => {
      const interpreter = await running()
      const input: UpgradeInput = { app, wanted, policy }
      const { run } = await interpreter.start('app-upgrade', { key: app, input, busy: 'wait', id })
      const { output } = await until(interpreter, run, ({ status }) => status !== 'active', { signal })
      const { outcome, failure } = output as UpgradeResult
      if (outcome === 'upgraded' || outcome === 'current') return
      throw failure === null ? new InstarError('ABORTED', `${app} was not fetched`) : errorFrom(failure)
    },
  }
}

const stopped = ({ app, workspace }: AppPlace) => new InstarError('APP_STOPPED', `${app} was removed from ${workspace}`)

function answerIn({ context }: RunState, id: string): InstanceAnswer | undefined {
  return (context as InstanceContext).answers.find((answer) => answer.id === id)
}

function eventOf(id: string, wish: AppRelease | 'stop' | 'restart') {
  if (wish === 'stop') return { type: 'stop', id }
  return { type: 'run', id, release: wish === 'restart' ? null : wish }
}
