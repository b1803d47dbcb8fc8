import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { act, pending, type Said } from '../model/actions.ts'
import { perform } from '../model/api.ts'
import type { AppStatus, InstanceStatus, VerbResult } from '../model/contract.ts'
import { runs, status, type WorkspaceStep } from '../model/live.ts'
import { runNow } from '../model/moments.ts'
import { refusalOf, roleText, visitorNow } from '../model/permissions.ts'
import { linkTo, route } from '../model/route.ts'
import { type UnderWay, underWay } from '../model/under-way.ts'
import { plural, reasonText } from '../model/wording.ts'
import { ActionButton } from '../view/button.tsx'
import { Confirm } from '../view/confirm.tsx'
import { Badge, Card, Empty, Facts, NotForRole, Sideways } from '../view/parts.tsx'
import { ProgressLine } from '../view/progress.tsx'
import { Since } from '../view/since.tsx'

type Check = VerbResult<'app.check'>['apps'][number]

/** The apps of the organisation, and what runs in which workspace. */
export function Apps() {
  const { apps } = status.value ?? {}
  const checks = useSignal<ReadonlyMap<string, Check>>(new Map())
  const visitor = visitorNow()
  if (!apps) return <NotForRole what="Apps" />
  const only = route.value.query.app
  const shown = only === undefined ? apps : apps.filter(({ app }) => app === only)
  const check = async () => {
    const found = await act('app-check', 'app.check', {}, ({ apps: all }) => {
      const behind = all.filter(({ standing }) => standing === 'behind').length
      return { kind: 'plain', text: behind === 0 ? 'No app is behind.' : `${plural(behind, 'app')} could be upgraded.` }
    })
    if (found !== undefined) checks.value = new Map(found.apps.map((one) => [one.app, one]))
  }
  return (
    <>
      {visitor !== null && visitor.role !== 'owner' && visitor.role !== 'org_admin' && (
        <p class="banner">
          You are here as {roleText(visitor)}. What your role may not do is said where it would be done.
        </p>
      )}
      {apps.length === 0 ? (
        <Empty title="The organisation has no apps yet">
          <p>
            Add a workspace and give it an app: <code>instar workspace add main</code>,{' '}
            <code>instar app install NAME --workspace main</code>.
          </p>
        </Empty>
      ) : (
        <div class="actions">
          <ActionButton action="app-check" refusal={refusalOf('check')} onAct={() => void check()}>
            Check for updates
          </ActionButton>
          {only !== undefined && <a href={linkTo('apps')}>All apps</a>}
        </div>
      )}
      {shown.map((app) => (
        <App key={app.app} status={app} check={checks.value.get(app.app)} />
      ))}
    </>
  )
}

const standings = { current: 'good', behind: 'live', pinned: 'warn', local: 'plain', 'check-failed': 'bad' } as const

function App({ status: one, check }: { readonly status: AppStatus; readonly check: Check | undefined }) {
  const { app, version, previous, pin, source, origin, workspaces } = one
  const work = underWay('app-upgrade', app)
  const action = `app-upgrade ${app}`
  const isChanging = work !== null || pending.value.has(action)
  const to = useSignal('')
  const upgrade = () =>
    void act(action, 'app.upgrade', { name: app, ...(to.value.trim() && { to: to.value.trim() }) }, saidOf)
  return (
    <Card
      title={app}
      aside={
        <span class="tags">
          {check && (
            <Badge tone={standings[check.standing]}>
              {check.standing}
              {check.offered !== null && check.offered !== version && `: ${check.offered}`}
            </Badge>
          )}
          {pin && <Badge tone="warn">pinned</Badge>}
          <Badge tone="good">{version ?? 'no version'}</Badge>
        </span>
      }
    >
      <Facts
        facts={[
          ['Version', version ?? 'none'],
          ['Previous', previous ?? 'none'],
          [
            'Pinned',
            pin && (
              <>
                at {pin.version} <Since at={pin.at} />
                {pin.note && <q>{pin.note}</q>}
              </>
            ),
          ],
          ['From', source && `${source}${origin === 'local' ? ' (local)' : ''}`],
          ['Last look', check?.reason && <span class="bad-text">{check.reason}</span>],
        ]}
      />
      <div class="actions">
        <label class="inline">
          <span class="unseen">Version of {app} to upgrade to</span>
          <input
            value={to.value}
            placeholder={check?.offered ?? 'latest'}
            size={12}
            onInput={(event) => {
              to.value = event.currentTarget.value
            }}
          />
        </label>
        <ActionButton
          action={action}
          kind={check?.standing === 'behind' ? 'primary' : 'plain'}
          busy={work !== null}
          disabled={pin !== null}
          refusal={refusalOf('upgrade')}
          label={`Upgrade ${app}`}
          onAct={upgrade}
        >
          Upgrade
        </ActionButton>
        <Confirm
          action={action}
          busy={work !== null}
          disabled={pin !== null || previous === null}
          refusal={refusalOf('roll back')}
          title="Roll back"
          label={`Roll back ${app}`}
          question={`Give every workspace ${previous} again?`}
          answer="Roll back"
          danger
          onConfirm={() => void act(action, 'app.rollback', { name: app }, saidOf)}
        />
        {pin === null ? (
          <Confirm
            action={`app-pin ${app}`}
            refusal={refusalOf('pin')}
            title="Pin"
            label={`Pin ${app}`}
            question={`Let ${app} stay at ${version} until it is unpinned?`}
            field={{ name: 'Why', placeholder: 'The newer one cannot …' }}
            answer="Pin it"
            onConfirm={(note) =>
              void act(`app-pin ${app}`, 'app.pin', { name: app, note }, () => ({
                kind: 'good',
                text: `${app} is pinned.`,
              }))
            }
          />
        ) : (
          <ActionButton
            action={`app-pin ${app}`}
            refusal={refusalOf('unpin')}
            label={`Unpin ${app}`}
            onAct={() =>
              void act(`app-pin ${app}`, 'app.unpin', { name: app }, () => ({
                kind: 'good',
                text: `${app} may be upgraded again.`,
              }))
            }
          >
            Unpin
          </ActionButton>
        )}
      </div>
      {isChanging && <ProgressLine what={`Upgrading ${app}`} told={work?.told} state={work?.state} />}
      <Upgrade app={app} work={work} />
      <Workspaces app={app} workspaces={workspaces} />
    </Card>
  )
}

function saidOf(result: VerbResult<'app.upgrade'>): Said {
  const { app, outcome, to } = result
  const isGood = outcome === 'upgraded' || outcome === 'current'
  const text = `${app}: ${outcome}${to === null ? '' : ` ${to}`}`
  return { kind: isGood ? 'good' : 'bad', text, hint: reasonText(result) }
}

interface Result extends WorkspaceStep {
  readonly reason?: string | undefined
}

/** What becomes of each workspace: as it comes while an upgrade is under way, and afterwards what it came to. */
function Upgrade({ app, work }: { readonly app: string; readonly work: UnderWay | null }) {
  const ended = useSignal<{
    readonly run: string
    readonly outcome: string
    readonly results: readonly Result[]
  } | null>(null)
  const last = [...runs.value.values()].findLast(
    ({ machine, key, ends }) => machine === 'app-upgrade' && key === app && ends !== null,
  )
  useEffect(() => {
    if (last === undefined || work !== null) return
    runNow(last.run).then(
      ({ output }) => {
        const { outcome, workspaces = [] } = (output ?? {}) as Outcome
        const results = workspaces.map((one) => ({ ...one, reason: one.failure?.message }))
        ended.value = { run: last.run, outcome: outcome ?? '', results }
      },
      () => {}, // the journal has it
    )
  }, [last?.run, work === null])
  if (work !== null) {
    const { results = [] } = (work.context ?? {}) as { results?: Outcome['workspaces'] }
    const steps = new Map([...(results ?? []), ...(work.told?.steps ?? [])].map((step) => [step.workspace, step]))
    return <Results title="So far" run={work.run} results={[...steps.values()]} />
  }
  if (ended.value === null || ended.value.results.length === 0) return null
  return <Results title={`Last upgrade: ${ended.value.outcome}`} run={ended.value.run} results={ended.value.results} />
}

interface Outcome {
  readonly outcome?: string
  readonly workspaces?: readonly (WorkspaceStep & { readonly failure: { readonly message: string } | null })[]
}

const outcomes: Readonly<Record<string, 'good' | 'bad' | 'plain'>> = { upgraded: 'good', kept: 'bad', dead: 'bad' }

function Results({
  title,
  run,
  results,
}: {
  readonly title: string
  readonly run: string
  readonly results: readonly Result[]
}) {
  return (
    <>
      <h3>
        {title} <a href={linkTo('charts/app-upgrade', { run })}>{run}</a>
      </h3>
      <ul class="rows results" aria-live="polite">
        {results.map(({ workspace, outcome, reason }) => (
          <li key={workspace}>
            <Badge tone={outcomes[outcome] ?? 'plain'}>{outcome}</Badge>
            <span>
              {workspace} {reason && <span class="bad-text">{reason}</span>}
            </span>
          </li>
        ))}
      </ul>
    </>
  )
}

const states = { serving: 'good', starting: 'live', stopped: 'plain', dead: 'bad' } as const

function Workspaces({ app, workspaces }: { readonly app: string; readonly workspaces: readonly InstanceStatus[] }) {
  if (workspaces.length === 0) return <p class="quiet">No workspace has it.</p>
  return (
    <Sideways label={`Workspaces with ${app}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">Workspace</th>
            <th scope="col">Version</th>
            <th scope="col">State</th>
            <th scope="col">Since</th>
            <th scope="col">Process</th>
            <th scope="col">
              <span class="unseen">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {workspaces.map((instance) => (
            <Workspace key={instance.workspace} app={app} instance={instance} />
          ))}
        </tbody>
      </table>
    </Sideways>
  )
}

function Workspace({ app, instance }: { readonly app: string; readonly instance: InstanceStatus }) {
  const { workspace, version, state, pid, failure } = instance
  const log = useSignal<string | null>(null)
  const run = (status.value?.runs ?? []).find(({ machine, context }) => {
    const place = context as { app?: string; workspace?: string } | null
    return machine.startsWith('app-instance@') && place?.app === app && place.workspace === workspace
  })
  const showLog = async () => {
    if (log.value !== null) {
      log.value = null
      return
    }
    log.value = await perform('app.logs', { app, workspace }).then(
      ({ log: lines }) => lines || 'It has printed nothing.',
      (error) => (error as Error).message,
    )
  }
  return (
    <>
      <tr>
        <th scope="row">{workspace}</th>
        <td class="version">{version}</td>
        <td>
          <Badge tone={states[state]}>{state}</Badge>
          {failure && <div class="bad-text">{failure.message}</div>}
        </td>
        <td>{run ? <Since at={run.startedAt} /> : '–'}</td>
        <td>{pid ?? '–'}</td>
        <td>
          <span class="actions">
            <ActionButton
              action={`app-restart ${app} ${workspace}`}
              refusal={refusalOf('restart', workspace)}
              label={`Restart ${app} in ${workspace}`}
              onAct={() =>
                void act(`app-restart ${app} ${workspace}`, 'app.restart', { name: app, workspace }, () => ({
                  kind: 'good',
                  text: `${app} in ${workspace} runs anew.`,
                }))
              }
            >
              Restart
            </ActionButton>
            <ActionButton
              action={`app-logs ${app} ${workspace}`}
              refusal={refusalOf('logs', workspace)}
              label={`Log of ${app} in ${workspace}`}
              onAct={() => void showLog()}
            >
              Log
            </ActionButton>
          </span>
        </td>
      </tr>
      {log.value !== null && (
        <tr>
          <td colSpan={6}>
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it can be scrolled */}
            <pre class="log" tabIndex={0}>
              {log.value}
            </pre>
          </td>
        </tr>
      )}
    </>
  )
}
