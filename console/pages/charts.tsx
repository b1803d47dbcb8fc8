import { useSignal } from '@preact/signals'
import { useEffect, useMemo } from 'preact/hooks'
import { activeIds } from '../../src/diagram/active-ids.ts'
import type { EdgeDescription, MachineTold } from '../model/contract.ts'
import { hello, records, runs, status } from '../model/live.ts'
import { loadMachines, machineNamed, machines, machinesFailure } from '../model/machines.ts'
import { type Passage, passagesOf } from '../model/passage.ts'
import { go, linkTo, route } from '../model/route.ts'
import { nameOf, verdictOf } from '../model/runs.ts'
import { eventText, stateText, timeText } from '../model/wording.ts'
import { Chart, type Chosen } from '../view/chart.tsx'
import { ChartList, keyOf, wayText } from '../view/chart-list.tsx'
import { Badge, Card, Empty, Facts, Failure, Loading } from '../view/parts.tsx'

/** Every machine as a statechart, with what its runs do in it. */
export function Charts() {
  useEffect(() => void loadMachines(), [hello.value])
  if (machinesFailure.value !== null)
    return <Failure what="The statecharts could not be loaded;" failure={machinesFailure.value} />
  if (machines.value === null) return <Loading what="the statecharts" />
  const name = route.value.part ?? busiest() ?? machines.value[0]?.name
  const machine = name === undefined ? undefined : machineNamed(name)
  return (
    <div class="chart-page">
      <nav class="side" aria-label="Statecharts">
        <ul>
          {machines.value.map(({ name: other, title }) => (
            <li key={other}>
              <a href={linkTo(`charts/${other}`)} aria-current={other === name ? 'page' : undefined}>
                {title}
                {activeRunsOf(other).length > 0 && <Badge tone="live">{activeRunsOf(other).length}</Badge>}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      {machine === undefined ? (
        <Empty title={`There is no statechart ${name ?? ''}`} />
      ) : (
        <OneChart key={machine.name} machine={machine} />
      )}
    </div>
  )
}

const activeRunsOf = (machine: string) => (status.value?.runs ?? []).filter((run) => nameOf(run.machine) === machine)

function busiest(): string | undefined {
  const newest = [...(status.value?.runs ?? [])].sort((one, other) => other.seq - one.seq)[0]
  return newest && nameOf(newest.machine)
}

interface RunChoice {
  readonly run: string
  readonly key: string
  readonly state: unknown
  readonly isActive: boolean
  readonly verdict: string
}

const runsOffered = 200

/** Runs of a machine: those that go on, and those whose records are here. The newest first. */
function runsOf(machine: string): RunChoice[] {
  const known = [...runs.value.values()].filter((run) => run.machine === machine)
  const newest = known.slice(-runsOffered).reverse()
  const active = activeRunsOf(machine).filter(({ run }) => !runs.value.has(run))
  return [
    ...newest.map((run) => ({ ...run, isActive: run.ends === null, verdict: run.outcome ?? verdictOf(run) })),
    ...active.map(({ run, key, value: state }) => ({ run, key, state, isActive: true, verdict: 'going' })),
  ]
}

function OneChart({ machine }: { readonly machine: MachineTold }) {
  const chosen = useSignal<Chosen | null>(null)
  const { run: wanted, at } = route.value.query
  const choices = runsOf(machine.name)
  const shown = choices.find(({ run }) => run === wanted) ?? (wanted ? undefined : choices[0])
  const passages = useMemo(() => {
    const own = records.value.filter(({ run }) => run === (shown?.run ?? wanted))
    return passagesOf(machine.definition, own)
  }, [machine, records.value, shown?.run, wanted])
  const moment = at === undefined ? passages.at(-1) : passages.findLast(({ record }) => record.seq <= Number(at))
  const active = useMemo(
    () => moment?.active ?? (shown ? activeIds(machine.definition, shown.state) : new Set<string>()),
    [moment, shown?.state],
  )
  const choose = (next: Chosen) => {
    chosen.value = next
  }
  return (
    <div class="one-chart">
      <div class="chart-main">
        {machine.description && <p class="quiet">{machine.description}</p>}
        <div class="bar">
          <label>
            Run
            <select
              value={shown?.run ?? ''}
              onChange={(event) => go(`charts/${machine.name}`, { run: event.currentTarget.value })}
            >
              {choices.length === 0 && <option value="">none yet</option>}
              {choices.map(({ run, key, isActive, verdict }) => (
                <option key={run} value={run}>
                  {run} {key} · {isActive ? 'going on' : verdict}
                </option>
              ))}
            </select>
          </label>
          {moment !== undefined && (
            <span role="status">
              <Badge tone={shown?.isActive && at === undefined ? 'live' : 'plain'}>
                {stateText(moment.record.state)}
              </Badge>{' '}
              after{' '}
              <a href={linkTo('journal', { run: moment.record.run, at: moment.record.seq })}>
                record {moment.record.seq}
              </a>
              {at !== undefined && (
                <>
                  {' '}
                  · <a href={linkTo(`charts/${machine.name}`, { run: shown?.run })}>follow it live</a>
                </>
              )}
            </span>
          )}
        </div>
        <Chart
          machine={machine}
          active={active}
          taken={moment?.edges ?? new Set()}
          chosen={chosen.value}
          onChoose={choose}
        />
        <details class="in-words">
          <summary>This statechart in words</summary>
          <ChartList description={machine.definition} active={active} onChoose={choose} />
        </details>
      </div>
      <aside class="chart-aside" aria-label="What was chosen">
        {chosen.value === null ? (
          <p class="quiet">Choose a state or a transition to see what it does, and which records went through it.</p>
        ) : 'state' in chosen.value ? (
          <StateInfo machine={machine} id={chosen.value.state} passages={passages} onChoose={choose} />
        ) : (
          <EdgeInfo machine={machine} ids={chosen.value.edges} passages={passages} onChoose={choose} />
        )}
      </aside>
    </div>
  )
}

interface InfoProps {
  readonly machine: MachineTold
  readonly passages: readonly Passage[]
  onChoose(chosen: Chosen): void
}

function StateInfo({ machine: { definition }, id, passages, onChoose }: InfoProps & { readonly id: string }) {
  const node = definition.nodes.find((one) => one.id === id)
  if (node === undefined) return null
  const out = definition.edges.filter(({ source }) => source === id)
  const into = definition.edges.filter(({ targets }) => targets.includes(id))
  return (
    <Card title={node.key}>
      {node.description && <p>{node.description}</p>}
      <Facts
        facts={[
          ['Kind', kinds[node.type]],
          ['Does', node.invoke.length > 0 && node.invoke.map(({ effect }) => effect).join(', ')],
          ['On entry', node.entry.length > 0 && node.entry.join(', ')],
          ['On exit', node.exit.length > 0 && node.exit.join(', ')],
          ['Begins in', node.initial && keyOf(definition.nodes, node.initial.target)],
        ]}
      />
      <Ways title="From here" edges={out} text={(edge) => wayText(definition, edge)} onChoose={onChoose} />
      <Ways
        title="To here"
        edges={into}
        text={(edge) => `${keyOf(definition.nodes, edge.source)}: ${wayText(definition, edge)}`}
        onChoose={onChoose}
      />
      <Records title="Records that led here" passages={passages.filter(({ entered }) => entered.has(id))} />
    </Card>
  )
}

const kinds = {
  atomic: 'state',
  compound: 'state with states in it',
  parallel: 'several at once',
  final: 'end',
  history: 'where it was last',
}

function EdgeInfo({
  machine: { definition },
  ids,
  passages,
  onChoose,
}: InfoProps & { readonly ids: readonly string[] }) {
  return (
    <>
      {definition.edges
        .filter(({ id }) => ids.includes(id))
        .map((edge) => (
          <Card key={edge.id} title={edge.trigger}>
            {edge.description && <p>{edge.description}</p>}
            <Facts
              facts={[
                ['From', <StateLink key="from" id={edge.source} {...{ definition, onChoose }} />],
                [
                  'To',
                  edge.targets.length === 0
                    ? 'stays where it is'
                    : edge.targets.map((id) => <StateLink key={id} id={id} {...{ definition, onChoose }} />),
                ],
                ['Where', edge.guard],
                ['Then', edge.actions.length > 0 && edge.actions.join(', ')],
                ['Event', edge.event && <code>{edge.event}</code>],
              ]}
            />
            <Records title="Records that took it" passages={passages.filter(({ edges }) => edges.has(edge.id))} />
          </Card>
        ))}
    </>
  )
}

function StateLink({
  id,
  definition,
  onChoose,
}: Pick<InfoProps, 'onChoose'> & { readonly id: string; readonly definition: MachineTold['definition'] }) {
  return (
    <button type="button" class="link" onClick={() => onChoose({ state: id })}>
      {keyOf(definition.nodes, id)}
    </button>
  )
}

interface WaysProps {
  readonly title: string
  readonly edges: readonly EdgeDescription[]
  text(edge: EdgeDescription): string
  onChoose(chosen: Chosen): void
}

function Ways({ title, edges, text, onChoose }: WaysProps) {
  if (edges.length === 0) return null
  return (
    <>
      <h3>{title}</h3>
      <ul class="bare">
        {edges.map((edge) => (
          <li key={edge.id}>
            <button type="button" class="link" onClick={() => onChoose({ edges: [edge.id] })}>
              {text(edge)}
            </button>
          </li>
        ))}
      </ul>
    </>
  )
}

const recordsShown = 30

function Records({ title, passages }: { readonly title: string; readonly passages: readonly Passage[] }) {
  return (
    <>
      <h3>{title}</h3>
      {passages.length === 0 ? (
        <p class="quiet">None of this run.</p>
      ) : (
        <ol class="bare">
          {passages
            .slice(-recordsShown)
            .reverse()
            .map(({ record: { seq, at, run, event } }) => (
              <li key={seq}>
                <a href={linkTo('journal', { run, at: seq })}>{seq}</a> <span class="quiet">{timeText(at)}</span>{' '}
                {eventText(event.type)}
              </li>
            ))}
        </ol>
      )}
    </>
  )
}
