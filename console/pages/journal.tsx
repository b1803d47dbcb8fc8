import { computed, useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { tellFailure } from '../model/actions.ts'
import type { Failed, Moment, RecordTold } from '../model/contract.ts'
import { exportRun } from '../model/export-run.ts'
import { current, type Filter, filter, narrow, place, select, selected, shown } from '../model/journal-view.ts'
import { hasEarlier, isLoadingEarlier, loadEarlier, records, runs } from '../model/live.ts'
import { momentAt } from '../model/moments.ts'
import { ownersOnly } from '../model/permissions.ts'
import { retryOf } from '../model/retry.ts'
import { go, linkTo, route } from '../model/route.ts'
import { machineOf, type Verdict, verdictOf } from '../model/runs.ts'
import { dayText, eventText, plural, stateText, timeText } from '../model/wording.ts'
import { ActionButton } from '../view/button.tsx'
import { DifferenceList } from '../view/difference-list.tsx'
import { Badge, Empty, Facts, Failure, Loading, NotForRole } from '../view/parts.tsx'
import { ValueTree } from '../view/value-tree.tsx'
import { VirtualList } from '../view/virtual-list.tsx'

const rowHeight = 30
const earlierAtOnce = 2000
/** Newest first; the others are found by a word, or by a record of theirs. */
const runsOffered = 200
/** The address follows the selection when it rests: browsers allow only so many changes of it. */
const addressRestsMs = 400

/**
 * Everything that was decided, as it was: a list and a slider in step, and the state at any of its records. Itself it does
 * not look at what is selected, so that a step draws what changes by it and nothing else.
 */
export function Journal() {
  if (ownersOnly() !== null) return <NotForRole what="The journal's records" />
  if (isEmpty.value)
    return (
      <Empty title="Nothing has been done here yet">
        <p>Whatever the controller decides is written to its journal first, and appears here at once.</p>
      </Empty>
    )
  return (
    <div class="journal-page">
      <Address />
      <div class="journal-list">
        <Filters />
        <Scrubber />
        <Records />
      </div>
      <Detail />
    </div>
  )
}

const isEmpty = computed(() => records.value.length === 0)

function Records() {
  if (shown.value.length === 0)
    return (
      <Empty title="No record is like that">
        <button type="button" onClick={() => narrow({ run: '', machine: '', verdict: '', text: '' })}>
          Show all
        </button>
      </Empty>
    )
  return (
    <VirtualList
      label="Records"
      items={shown.value}
      rowHeight={rowHeight}
      selected={place.value}
      follows={selected.value === null}
      keyOf={seqOf}
      draw={drawRow}
      onSelect={select}
      onLeave={() => {
        selected.value = current.peek()?.seq ?? null
      }}
    />
  )
}

const seqOf = ({ seq }: RecordTold) => seq

/** A link can name a run and a record; what is selected then stands in the address. Draws nothing. */
function Address() {
  const { query } = route.value
  const rest = useRef<ReturnType<typeof setTimeout>>(undefined)
  const written = useRef('')
  useEffect(() => {
    // What this page has written itself is behind it already.
    if (written.current === location.hash) return
    if (query.run !== undefined) narrow({ run: query.run, machine: '', verdict: '', text: '' })
    if (query.at === undefined) return
    selected.value = Number(query.at)
    const first = records.peek()[0]?.seq ?? 1
    if (selected.peek()! < first) loadEarlier(first - selected.peek()! + 100)
  }, [query.run, query.at])
  useEffect(() => {
    clearTimeout(rest.current)
    rest.current = setTimeout(() => {
      if (route.peek().page !== 'journal') return
      const place = { run: filter.peek().run, at: selected.peek() }
      written.current = linkTo('journal', place)
      go('journal', place, { replace: true })
    }, addressRestsMs)
    return () => clearTimeout(rest.current)
  }, [selected.value, filter.value.run])
  return null
}

const verdicts: readonly (readonly [Verdict | '', string])[] = [
  ['', 'any'],
  ['going', 'going on'],
  ['good', 'as wanted'],
  ['bad', 'failed'],
  ['cancelled', 'cancelled'],
]

function Filters() {
  const { run, machine, verdict, text } = filter.value
  const known = [...runs.value.values()].reverse()
  const offered = known.slice(0, runsOffered)
  const machines = [...new Set(known.map((one) => one.machine))].sort()
  const set = (name: keyof Filter) => (event: { currentTarget: HTMLSelectElement | HTMLInputElement }) =>
    narrow({ [name]: event.currentTarget.value })
  return (
    <form class="bar filters" onSubmit={(event) => event.preventDefault()} aria-label="Filter the journal">
      <label>
        Run
        <select value={run} onChange={set('run')}>
          <option value="">all</option>
          {run !== '' && !offered.some((one) => one.run === run) && <option value={run}>{run}</option>}
          {offered.map((one) => (
            <option key={one.run} value={one.run}>
              {one.run} {one.key}
            </option>
          ))}
        </select>
      </label>
      <label>
        Kind
        <select value={machine} onChange={set('machine')}>
          <option value="">all</option>
          {machines.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Outcome
        <select value={verdict} onChange={set('verdict')}>
          {verdicts.map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      </label>
      <label>
        Find
        <input type="search" value={text} placeholder="name, event" onInput={set('text')} />
      </label>
    </form>
  )
}

function Scrubber() {
  const count = shown.value.length
  const record = current.value
  return (
    <div class="scrubber">
      <button
        type="button"
        disabled={!hasEarlier.value || isLoadingEarlier.value}
        onClick={() => loadEarlier(earlierAtOnce)}
      >
        {isLoadingEarlier.value ? 'Reading …' : 'Earlier'}
      </button>
      <input
        type="range"
        min={0}
        max={Math.max(0, count - 1)}
        value={Math.max(0, place.value)}
        disabled={count === 0}
        aria-label="Record"
        aria-valuetext={record && `record ${record.seq}, ${record.run}, ${eventText(record.event.type)}`}
        onInput={(event) => select(Number(event.currentTarget.value))}
      />
      <button
        type="button"
        aria-pressed={selected.value === null}
        onClick={() => {
          selected.value = selected.peek() === null ? (current.peek()?.seq ?? null) : null
        }}
      >
        Follow
      </button>
      <span class="quiet count-of">{plural(count, 'record')}</span>
    </div>
  )
}

function drawRow(record: RecordTold) {
  const { seq, at, run, event, ends = null, outcome = null, state } = record
  const verdict = verdictOf({ ends, outcome })
  return (
    <>
      <span class="seq">{seq}</span>
      <time class="quiet">{timeText(at)}</time>
      <span class="run">{run}</span>
      <span class="event">{eventText(event.type)}</span>
      <span class={`state-now ${verdict}`}>{ends === null ? stateText(state) : (outcome ?? ends)}</span>
    </>
  )
}

function Detail() {
  const record = current.value
  if (record === undefined) return <aside class="journal-detail" />
  const { seq, at, run, key, event, state } = record
  const { type, ...data } = event
  const known = runs.value.get(run)
  const retry = known && verdictOf(known) === 'bad' ? retryOf(known) : null
  return (
    <aside class="journal-detail" aria-label={`Record ${seq}`}>
      <h2>
        Record {seq}: {eventText(type)}
      </h2>
      <Facts
        facts={[
          ['At', dayText(at)],
          [
            'Run',
            <span key="run">
              {run} <span class="quiet">{key}</span>
            </span>,
          ],
          ['State after it', <Badge key="state">{stateText(state)}</Badge>],
          ['Came to', known?.ends ? (known.outcome ?? known.ends) : undefined],
        ]}
      />
      <div class="actions">
        <a class="button" href={linkTo(`charts/${machineOf(record)}`, { run, at: seq })}>
          Show in the statechart
        </a>
        <button type="button" onClick={() => narrow({ run: filter.peek().run === run ? '' : run })}>
          {filter.value.run === run ? 'All runs' : 'Only this run'}
        </button>
        <button type="button" onClick={() => void exportRun(run).catch(tellFailure)}>
          Export this run
        </button>
        {retry !== null && (
          <ActionButton action={`${known!.machine} ${key}`} onAct={() => void retry().catch(tellFailure)}>
            Try again
          </ActionButton>
        )}
      </div>
      <h3>Event</h3>
      <pre class="event-type">{type}</pre>
      <ValueTree value={data} />
      <AtThatMoment run={run} seq={seq} />
    </aside>
  )
}

const scrubRestsMs = 60
/** Of one that follows: while more comes than anybody could read, nothing is replayed for it. */
const followRestsMs = 400

/** State and context as they were, by replay. Asked for when the selection rests; until then the last one stays, dimmed. */
function AtThatMoment({ run, seq }: { readonly run: string; readonly seq: number }) {
  const found = useSignal<{ readonly run: string; readonly seq: number; readonly moment: Moment } | null>(null)
  const failure = useSignal<Failed | null>(null)
  const restsMs = selected.value === null ? followRestsMs : scrubRestsMs
  useEffect(() => {
    let isOver = false
    const timer = setTimeout(() => {
      momentAt(run, seq).then(
        (moment) => {
          if (isOver) return
          found.value = { run, seq, moment }
          failure.value = null
        },
        (error) => {
          if (!isOver) failure.value = error as Failed
        },
      )
    }, restsMs)
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [run, seq])
  if (failure.value !== null) return <Failure what="That state could not be replayed;" failure={failure.value} />
  if (found.value === null) return <Loading what="the state at this record" />
  const { moment } = found.value
  const isOld = found.value.seq !== seq || found.value.run !== run
  return (
    <div class={isOld ? 'moment old' : 'moment'} aria-busy={isOld}>
      <h3>What it changed</h3>
      {moment.previous === null ? (
        <p class="quiet">The run begins here.</p>
      ) : (
        <DifferenceList differences={moment.diff} />
      )}
      <h3>Should be running after it</h3>
      {moment.state.effects.length === 0 ? (
        <p class="quiet">Nothing.</p>
      ) : (
        <ul class="bare">
          {moment.state.effects.map(({ key, src }) => (
            <li key={key}>
              {src} <span class="quiet">{key}</span>
            </li>
          ))}
        </ul>
      )}
      <h3>Context</h3>
      <ValueTree value={moment.state.context} />
    </div>
  )
}
