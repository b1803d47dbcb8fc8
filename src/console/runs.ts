import { performVerb } from '../control/verbs.ts'
import { InstarError } from '../errors.ts'
import { answerJson } from '../http/answer.ts'
import type { Area } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'
import type { RunState } from '../run/run.ts'
import { differences } from './differences.ts'
import type { Shown } from './shown.ts'

/** What several pages ask for at once, since they follow the same journal, is replayed once. */
const momentsKept = 32

/** A run right after a record of it, and what that record changed; by replay, running nothing. */
export function runsArea(controller: Shown, gate: TokenGate): Area {
  const context = { signal: new AbortController().signal, progress: () => {}, deliver: async () => {} }
  const show = async (params: { run: string; at?: number }) =>
    (await performVerb(controller, 'journal.show', params, context)) as RunState
  const moment = async (run: string, at?: number) => {
    const state = await show({ run, ...(at !== undefined && { at }) })
    const previous = state.seq > state.startedSeq ? await show({ run, at: state.seq - 1 }) : null
    const diff = previous === null ? [] : differences(whatShows(previous), whatShows(state))
    return { state, previous, diff }
  }
  const moments = new Map<string, ReturnType<typeof moment>>()
  // What is past does not change.
  const pastMoment = (run: string, at: number) => {
    const name = `${run}@${at}`
    const found = moments.get(name) ?? moment(run, at)
    moments.set(name, found)
    found.catch(() => moments.delete(name))
    if (moments.size > momentsKept) moments.delete(moments.keys().next().value!)
    return found
  }
  return {
    routes: [
      {
        path: /^\/console\/runs\/([\w.@-]{1,256})$/,
        methods: ['GET'],
        async handle(request, response, [run = '']) {
          await gate.admitOwner(request, 'see the journal')
          const at = sequenceIn(request.url ?? '')
          answerJson(response, await (at === undefined ? moment(run) : pastMoment(run, at)))
        },
      },
    ],
  }
}

const whatShows = ({ value, context }: RunState) => ({ value, context })

function sequenceIn(url: string): number | undefined {
  const at = new URL(url, 'http://console').searchParams.get('at')
  if (at === null) return undefined
  if (/^\d{1,15}$/.test(at)) return Number(at)
  throw new InstarError('PARAMETERS_INVALID', 'at: is the number of a record')
}
