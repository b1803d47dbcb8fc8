import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { act, pending, type Said } from '../model/actions.ts'
import type { RuntimeStatus } from '../model/contract.ts'
import { runs, status } from '../model/live.ts'
import { runNow } from '../model/moments.ts'
import { ownersOnly } from '../model/permissions.ts'
import { linkTo } from '../model/route.ts'
import { activeRun, underWay } from '../model/under-way.ts'
import { reasonText } from '../model/wording.ts'
import { ActionButton } from '../view/button.tsx'
import { Confirm } from '../view/confirm.tsx'
import { Badge, Card, Empty, Facts, NotForRole } from '../view/parts.tsx'
import { ProgressLine } from '../view/progress.tsx'
import { Since } from '../view/since.tsx'

/** The runtimes: which version runs, which would run next, and which are kept, banned or too young. */
export function Runtimes() {
  const { runtimes } = status.value ?? {}
  if (!runtimes) return <NotForRole what="Runtimes" />
  if (runtimes.length === 0)
    return (
      <Empty title="No runtime is configured">
        <p>
          Name one under <code>runtimes</code> in <code>instar.config.json</code>: a package of the registry that this
          controller keeps at its newest good version.
        </p>
      </Empty>
    )
  return (
    <>
      {runtimes.map((runtime) => (
        <Runtime key={runtime.name} runtime={runtime} />
      ))}
    </>
  )
}

const checked: Readonly<Record<string, (version: string | null) => Said>> = {
  staged: (version) => ({ kind: 'good', text: `${version} is staged; the next launch uses it.` }),
  'up-to-date': (version) => ({ kind: 'plain', text: `${version ?? 'It'} is the newest there is.` }),
  'already-staged': (version) => ({ kind: 'plain', text: `${version} is staged already.` }),
}

function Runtime({ runtime }: { readonly runtime: RuntimeStatus }) {
  const { name, package: from, channel, running, nextLaunch, bans, lastCheck, nextCheckInMs } = runtime
  const checking = underWay('runtime-update', name)
  const refusal = ownersOnly()
  const check = () =>
    act(`runtime-update ${name}`, 'runtime.check', { name }, ({ outcome, version, reason, code }) => {
      return (
        checked[outcome]?.(version) ?? {
          kind: 'bad',
          text: `${outcome}: ${version ?? name}`,
          hint: reasonText({ reason, code }),
        }
      )
    })
  const launch = () =>
    act(`runtime-launch ${name}`, 'runtime.launch', { name }, ({ version, insteadOf }) => ({
      kind: insteadOf === null ? 'good' : 'bad',
      text: insteadOf === null ? `${name} runs ${version}.` : `${name} runs ${version}; ${insteadOf} failed.`,
    }))
  const stop = () =>
    act(`runtime-stop ${name}`, 'runtime.stop', { name }, ({ version }) => ({
      kind: 'plain',
      text: `${name} ${version ?? ''} has ended.`,
    }))
  const restart = async () => {
    const stopped = await stop()
    if (stopped !== undefined) await launch()
  }
  const needsRestart = running !== null && nextLaunch !== null && running.version !== nextLaunch
  const isChanging = pending.value.has(`runtime-launch ${name}`) || pending.value.has(`runtime-stop ${name}`)
  return (
    <Card title={name} aside={running ? <Badge tone="good">runs {running.version}</Badge> : <Badge>not running</Badge>}>
      <Facts
        facts={[
          ['Package', `${from}@${channel}`],
          [
            'Running',
            running ? (
              <>
                {running.version} ({running.arm}), pid {running.pid} <RunningSince name={name} />
                {running.url && /^https?:/.test(running.url) && (
                  <>
                    {' '}
                    <a href={running.url} rel="noreferrer noopener" target="_blank">
                      {running.url}
                    </a>
                  </>
                )}
              </>
            ) : (
              'no'
            ),
          ],
          ['Next launch', nextLaunch ?? 'there is nothing to run'],
          [
            'Last check',
            lastCheck && (
              <>
                {lastCheck.outcome} {lastCheck.version} <Since at={lastCheck.at} />
                {lastCheck.reason && <span class="bad-text"> {lastCheck.reason}</span>}
                {lastCheck.outcome === 'too-young' && <TooYoung name={name} />}
              </>
            ),
          ],
          ['Next check', nextCheckInMs !== null && <Since at={Date.now() + nextCheckInMs} />],
        ]}
      />
      {(checking !== null || pending.value.has(`runtime-update ${name}`)) && (
        <ProgressLine what={`Checking ${name}`} told={checking?.told} state={checking?.state} />
      )}
      {isChanging && <ProgressLine what={name} state={launchState(name)} />}
      <div class="actions">
        <ActionButton
          action={`runtime-update ${name}`}
          refusal={refusal}
          busy={checking !== null}
          onAct={() => void check()}
        >
          Check for updates
        </ActionButton>
        {running === null ? (
          <ActionButton
            action={`runtime-launch ${name}`}
            kind="primary"
            refusal={refusal}
            disabled={nextLaunch === null}
            onAct={() => void launch()}
          >
            Launch
          </ActionButton>
        ) : (
          <>
            <ActionButton
              action={`runtime-launch ${name}`}
              kind={needsRestart ? 'primary' : 'plain'}
              busy={isChanging}
              refusal={refusal}
              onAct={() => void restart()}
            >
              {needsRestart ? `Restart into ${nextLaunch}` : 'Restart'}
            </ActionButton>
            <Confirm
              action={`runtime-stop ${name}`}
              refusal={refusal}
              busy={isChanging}
              title="Stop"
              label={`Stop ${name}`}
              question={`End ${name} ${running.version}?`}
              answer="Stop it"
              danger
              onConfirm={() => void stop()}
            />
          </>
        )}
        <Confirm
          action={`runtime-rollback ${name}`}
          refusal={refusal}
          disabled={runtime.current === null}
          title="Roll back"
          label={`Roll back ${name}`}
          question={`Let the next launch use ${runtime.previous?.version ?? 'the bundled version'} and ban ${runtime.current?.version}? What runs goes on running.`}
          answer="Roll back"
          danger
          onConfirm={() =>
            void act(`runtime-rollback ${name}`, 'runtime.rollback', { name }, ({ to }) => ({
              kind: 'good',
              text: `The next launch of ${name} uses ${to ?? 'the bundled version'}.`,
            }))
          }
        />
      </div>
      <Versions runtime={runtime} />
      {bans.length > 0 && <Bans runtime={runtime} />}
    </Card>
  )
}

function RunningSince({ name }: { readonly name: string }) {
  const run = activeRun('runtime-launch', name)
  return run === undefined ? null : <Since at={run.startedAt} />
}

const launchState = (name: string) => underWay('runtime-launch', name)?.state

/** When a version that was too young may be taken, by what its check knew. */
function TooYoung({ name }: { readonly name: string }) {
  const until = useSignal<number | null>(null)
  const last = [...runs.value.values()].findLast((run) => {
    return run.machine === 'runtime-update' && run.key === name && run.outcome === 'too-young'
  })
  useEffect(() => {
    if (last === undefined) return
    runNow(last.run).then(
      ({ context, at }) => {
        const { evidence, policy } = context as {
          evidence: { ageMs: number } | null
          policy: { minimumReleaseAgeMs: number }
        }
        until.value = evidence === null ? null : at + policy.minimumReleaseAgeMs - evidence.ageMs
      },
      () => {}, // it is only not said then
    )
  }, [last?.run])
  if (until.value === null) return null
  return (
    <>
      , old enough <Since at={until.value} />
    </>
  )
}

function Versions({ runtime }: { readonly runtime: RuntimeStatus }) {
  const { name, releases, current, previous, knownGood, bundled, running, bans } = runtime
  const all = [...releases.map(({ version }) => version), ...(bundled ? [bundled.version] : [])]
  const versions = [...new Set(all)].sort((one, other) => other.localeCompare(one, 'en', { numeric: true }))
  if (versions.length === 0) return <p class="quiet">No version has been staged here yet.</p>
  const tagsOf = (version: string) =>
    [
      running?.version === version && (['running', 'good'] as const),
      current?.version === version && (['current', 'live'] as const),
      previous?.version === version && (['previous', 'plain'] as const),
      knownGood?.version === version && (['known good', 'plain'] as const),
      bundled?.version === version && (['bundled', 'plain'] as const),
      bans.some((ban) => ban.version === version) && (['banned', 'bad'] as const),
    ].filter((tag) => tag !== false)
  return (
    <>
      <h3>Versions here</h3>
      <ul class="rows">
        {versions.map((version) => (
          <li key={version}>
            <span class="version">{version}</span>
            <span class="tags">
              {tagsOf(version).map(([text, tone]) => (
                <Badge key={text} tone={tone}>
                  {text}
                </Badge>
              ))}
            </span>
            <span class="spacer" />
            {!bans.some((ban) => ban.version === version) && version !== bundled?.version && (
              <Confirm
                action={`runtime-ban ${name} ${version}`}
                refusal={ownersOnly()}
                title="Ban"
                label={`Ban ${version} of ${name}`}
                question={`Never launch or stage ${version} again?`}
                field={{ name: 'Why', placeholder: 'It crashes when …' }}
                answer="Ban it"
                danger
                onConfirm={(reason) =>
                  void act(
                    `runtime-ban ${name} ${version}`,
                    'runtime.ban',
                    { name, version, ...(reason && { reason }) },
                    () => ({
                      kind: 'good',
                      text: `${version} is banned.`,
                    }),
                  )
                }
              />
            )}
          </li>
        ))}
      </ul>
    </>
  )
}

function Bans({ runtime: { name, bans } }: { readonly runtime: RuntimeStatus }) {
  return (
    <>
      <h3>Banned</h3>
      <ul class="rows">
        {bans.map(({ version, reason, at }) => (
          <li key={version}>
            <span class="version">{version}</span>
            <span>
              {reason}{' '}
              <span class="quiet">
                <Since at={at} />
              </span>
            </span>
            <span class="spacer" />
            <ActionButton
              action={`runtime-unban ${name} ${version}`}
              refusal={ownersOnly()}
              label={`Unban ${version} of ${name}`}
              onAct={() =>
                void act(`runtime-unban ${name} ${version}`, 'runtime.unban', { name, version }, () => ({
                  kind: 'good',
                  text: `${version} may be used again.`,
                }))
              }
            >
              Unban
            </ActionButton>
          </li>
        ))}
      </ul>
      <p class="quiet">
        A lower version can still be taken: <a href={linkTo('journal', {})}>the journal</a> tells what led to a ban.
      </p>
    </>
  )
}
