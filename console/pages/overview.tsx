import { attention } from '../model/attention.ts'
import type { RunState } from '../model/contract.ts'
import { hello, status } from '../model/live.ts'
import { linkTo } from '../model/route.ts'
import { nameOf } from '../model/runs.ts'
import { eventText, plural, stateText, timeText } from '../model/wording.ts'
import { Badge, Card, Empty, Sideways } from '../view/parts.tsx'
import { Since } from '../view/since.tsx'

/** What runs, in which version, since when, and what needs a person. */
export function Overview() {
  return (
    <>
      <Needed />
      <Running />
      <UnderWay />
      <Notices />
    </>
  )
}

const tones = { broken: 'bad', look: 'warn', restart: 'live' } as const
const urgencies = { broken: 'Broken', look: 'Have a look', restart: 'Restart needed' } as const

function Needed() {
  const needed = attention.value
  return (
    <Card title="Needs a person">
      {needed.length === 0 ? (
        <p class="good-text">Nothing does. All is as it should be.</p>
      ) : (
        <ul class="rows">
          {needed.map(({ urgency, what, why, link }) => (
            <li key={`${what} ${why}`}>
              <Badge tone={tones[urgency]}>{urgencies[urgency]}</Badge>
              <span>
                <a href={link}>{what}</a> {why}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  )
}

interface Row {
  readonly kind: string
  readonly name: string
  readonly version: string | null
  readonly state: string
  readonly since: number | null
  readonly link: string
}

/** Where a run of a machine began that holds something up. */
function sinceOf(runs: readonly RunState[], machine: string, key: string): number | null {
  return runs.find((run) => nameOf(run.machine) === machine && run.key === key)?.startedAt ?? null
}

function rowsNow(): Row[] {
  const { runtimes, daemons, plugins, apps, runs } = status.value ?? {}
  const active = runs ?? []
  return [
    ...(runtimes ?? []).map(({ name, running, nextLaunch }) => ({
      kind: 'Runtime',
      name,
      version: running?.version ?? nextLaunch,
      state: running === null ? 'not running' : 'running',
      since: running === null ? null : sinceOf(active, 'runtime-launch', name),
      link: linkTo('runtime'),
    })),
    ...(daemons ?? []).map(({ name, state, running }) => ({
      kind: 'Daemon',
      name,
      version: running?.version ?? null,
      state: running === null ? state : `running, ${plural(running.sessions, 'terminal')}`,
      since: running?.startedAt ?? null,
      link: linkTo('terminals'),
    })),
    ...(apps ?? []).map(({ app, version, workspaces }) => ({
      kind: 'App',
      name: app,
      version,
      state: `${workspaces.filter(({ state }) => state === 'serving').length} of ${plural(workspaces.length, 'workspace')} serving`,
      since: null,
      link: linkTo('apps', { app }),
    })),
    ...(plugins ?? []).map(({ name, version, problem }) => ({
      kind: 'Plugin',
      name,
      version,
      state: problem !== undefined ? 'has a problem' : version === null ? 'removed' : 'live',
      since: null,
      link: linkTo('plugins'),
    })),
  ]
}

function Running() {
  const rows = rowsNow()
  return (
    <Card title="What runs">
      {rows.length === 0 ? (
        <Empty title="Nothing is configured yet">
          <p>
            A runtime, apps or plugins go into <code>instar.config.json</code>; <code>instar doctor</code> says what is
            missing.
          </p>
        </Empty>
      ) : (
        <Sideways label="What runs">
          <table>
            <thead>
              <tr>
                <th scope="col">What</th>
                <th scope="col">Name</th>
                <th scope="col">Version</th>
                <th scope="col">State</th>
                <th scope="col">Since</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ kind, name, version, state, since, link }) => (
                <tr key={`${kind} ${name}`}>
                  <td class="quiet">{kind}</td>
                  <th scope="row">
                    <a href={link}>{name}</a>
                  </th>
                  <td class="version">{version ?? '–'}</td>
                  <td>{state}</td>
                  <td>{since === null ? '–' : <Since at={since} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Sideways>
      )}
    </Card>
  )
}

/** Machines whose runs go on for as long as what they look after; they are no work under way. */
const lasting = new Set(['daemon-supervision', 'runtime-launch', 'app-instance'])

function UnderWay() {
  const active = (status.value?.runs ?? []).filter(({ machine }) => !lasting.has(nameOf(machine)))
  return (
    <Card title="Under way">
      {active.length === 0 ? (
        <p class="quiet">Nothing is being changed right now.</p>
      ) : (
        <ul class="rows">
          {active.map(({ run, machine, key, value, startedAt }) => (
            <li key={run}>
              <Badge tone="live">{stateText(value)}</Badge>
              <span>
                <a href={linkTo(`charts/${nameOf(machine)}`, { run })}>{run}</a> {key} <Since at={startedAt} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  )
}

const words = ['app', 'runtime', 'plugin', 'name', 'workspace', 'version', 'to'] as const

/** What a notice is about. */
function aboutText(notice: Readonly<Record<string, unknown>>): string {
  const found = words.map((word) => notice[word]).filter((value) => typeof value === 'string')
  return found.join(' ')
}

function Notices() {
  const notices = [...(status.value?.notices ?? [])].reverse()
  return (
    <Card title="Lately">
      {notices.length === 0 ? (
        <p class="quiet">
          Nothing was told yet. {hello.value && `The journal has ${plural(hello.value.lastSeq, 'record')}.`}
        </p>
      ) : (
        <ol class="rows">
          {notices.map(({ seq, at, run, type, ...more }, index) => (
            <li key={`${seq} ${index}`}>
              <time class="quiet" dateTime={new Date(at).toISOString()}>
                {timeText(at)}
              </time>
              <span>
                <a href={linkTo('journal', { run, at: seq })}>{eventText(type)}</a> {aboutText(more)}{' '}
                <span class="quiet">{run}</span>
              </span>
            </li>
          ))}
        </ol>
      )}
    </Card>
  )
}
