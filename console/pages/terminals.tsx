import { useSignal } from '@preact/signals'
import { useEffect, useMemo, useRef } from 'preact/hooks'
import { activeIds } from '../../src/diagram/active-ids.ts'
import { act, pending, tellFailure } from '../model/actions.ts'
import type { DaemonStatus, Failed, SessionInfo } from '../model/contract.ts'
import { link, records, status } from '../model/live.ts'
import { loadMachines, machineNamed } from '../model/machines.ts'
import { passagesOf } from '../model/passage.ts'
import { ownersOnly } from '../model/permissions.ts'
import { go, linkTo, route } from '../model/route.ts'
import { attach, endTerminal, loadTerminals, openTerminal, terminals, terminalsFailure } from '../model/terminals.ts'
import { activeRun, underWay } from '../model/under-way.ts'
import { eventText, plural } from '../model/wording.ts'
import type { AttachedTerminal } from '../terminal/attached-terminal.ts'
import { ActionButton } from '../view/button.tsx'
import { Chart } from '../view/chart.tsx'
import { Confirm } from '../view/confirm.tsx'
import { Badge, Card, Empty, Facts, Failure, Loading, NotForRole } from '../view/parts.tsx'
import { ProgressLine } from '../view/progress.tsx'
import { Since } from '../view/since.tsx'

/** The terminals of every daemon, and the daemons beside them. */
export function Terminals() {
  const { daemons } = status.value ?? {}
  // Sessions come and go without a record; a daemon's count of them and a controller that is back say when to look.
  const counts = daemons?.map(({ name, running }) => `${name} ${running?.pid} ${running?.sessions}`).join()
  useEffect(() => {
    if (link.value === 'live' && ownersOnly() === null) void loadTerminals()
  }, [counts, link.value])
  if (ownersOnly() !== null || !daemons) return <NotForRole what="Terminals" />
  const { daemon = null, session = null } = route.value.query
  const chosen = terminals.value?.find(({ name }) => name === daemon)?.sessions.find(({ id }) => id === session)
  return (
    <>
      {terminalsFailure.value !== null && link.value === 'live' && (
        <Failure what="The terminals could not be listed;" failure={terminalsFailure.value} />
      )}
      {daemons.map((one) => (
        <Daemon key={one.name} daemon={one} chosen={session} />
      ))}
      {session !== null && terminals.value !== null && chosen === undefined && (
        <Empty title={`${session} is not there any more`}>
          <a href={linkTo('terminals')}>All terminals</a>
        </Empty>
      )}
      {chosen !== undefined && daemon !== null && (
        <Shown key={`${daemon}/${chosen.id}`} daemon={daemon} session={chosen} />
      )}
    </>
  )
}

function Daemon({ daemon, chosen }: { readonly daemon: DaemonStatus; readonly chosen: string | null }) {
  const { name, running, wanted, state, kept, failure } = daemon
  const { sessions, failure: unlisted = null } = terminals.value?.find((one) => one.name === name) ?? {}
  const action = `daemon-update ${name}`
  const update = () =>
    void act(action, 'daemon.update', { name }, ({ outcome, version, sessions: moved, freezeMs, reason }) =>
      outcome === 'kept'
        ? { kind: 'bad', text: `The daemon ${name} stays ${version}.`, hint: reason?.message }
        : {
            kind: 'good',
            text: `The daemon ${name} is ${version}; ${plural(moved, 'terminal')} went over${freezeMs === null ? '' : ` and stood still for ${Math.round(freezeMs)} ms`}.`,
          },
    )
  return (
    <Card
      title={`Daemon ${name}`}
      aside={
        running === null ? (
          <Badge tone={state === 'unclear' ? 'bad' : 'plain'}>{state === 'absent' ? 'not running' : state}</Badge>
        ) : (
          <Badge tone={running.standing === 'older' ? 'warn' : 'good'}>{running.version}</Badge>
        )
      }
    >
      {failure && <p class="bad-text">{failure.message}</p>}
      {kept && (
        <p class="bad-text">
          The update to {wanted} was not taken: {kept.message}
        </p>
      )}
      {running && (
        <Facts
          facts={[
            ['Process', `${running.pid}, Node ${running.node}`],
            ['Since', <Since key="since" at={running.startedAt} />],
            ['Generation', running.generation],
            [
              'Survives a crash',
              running.keeper === null ? 'no, there is no keeper' : `yes, by keeper ${running.keeper.pid}`,
            ],
          ]}
        />
      )}
      <div class="actions">
        <OpenTerminal daemon={name} />
        <ActionButton
          action={action}
          kind={running?.standing === 'older' ? 'primary' : 'plain'}
          refusal={ownersOnly()}
          disabled={running === null}
          label={`Upgrade daemon ${name}`}
          onAct={update}
        >
          Upgrade daemon
        </ActionButton>
      </div>
      <Handoff daemon={name} isAsked={pending.value.has(action)} />
      {sessions === undefined && terminalsFailure.value === null && <Loading what="the terminals" />}
      {unlisted !== null && <Failure what="Its terminals could not be listed;" failure={unlisted} />}
      {sessions?.length === 0 && unlisted === null && <p class="quiet">No terminal is open here.</p>}
      {sessions !== undefined && sessions.length > 0 && (
        <ul class="rows sessions" aria-label={`Terminals of ${name}`}>
          {sessions.map(({ id, command, pid, createdAt, exit }) => (
            <li key={id}>
              <a
                href={linkTo('terminals', { daemon: name, session: id })}
                aria-current={id === chosen ? 'true' : undefined}
              >
                {id}
              </a>
              <code>{command.join(' ')}</code>
              {exit === null ? <span class="quiet">pid {pid}</span> : <Badge>ended</Badge>}
              <span class="spacer" />
              <span class="quiet">
                <Since at={createdAt} />
              </span>
              {exit === null && (
                <Confirm
                  action={`end ${name} ${id}`}
                  title="End"
                  label={`End ${id}`}
                  question={`Hang up ${id}? Its program ends.`}
                  answer="End it"
                  danger
                  onConfirm={() => void endTerminal(name, id).catch(tellFailure)}
                />
              )}
            </li>
          ))}
        </ul>
      )}
    </Card>
  )
}

function OpenTerminal({ daemon }: { readonly daemon: string }) {
  const command = useSignal('')
  const isOpening = useSignal(false)
  const open = async (event: Event) => {
    event.preventDefault()
    if (isOpening.value) return
    isOpening.value = true
    try {
      const session = await openTerminal(daemon, command.value)
      go('terminals', { daemon, session: session.id })
    } catch (error) {
      tellFailure(error)
    }
    isOpening.value = false
  }
  return (
    <form class="inline" onSubmit={(event) => void open(event)}>
      <label>
        <span class="unseen">Command for a terminal of {daemon}</span>
        <input
          value={command.value}
          placeholder="a shell"
          size={16}
          onInput={(event) => {
            command.value = event.currentTarget.value
          }}
        />
      </label>
      <button type="submit" disabled={isOpening.value} aria-busy={isOpening.value}>
        Open terminal
      </button>
    </form>
  )
}

/** The run that looks after the daemon, while it replaces it; the drawing stays until the reader closes it. */
function Handoff({ daemon, isAsked }: { readonly daemon: string; readonly isAsked: boolean }) {
  const isOpen = useSignal(false)
  const run = activeRun('daemon-supervision', daemon)
  const work = underWay('daemon-supervision', daemon)
  const machine = machineNamed('daemon-supervision')
  const isBusy = isAsked || (run?.tags?.includes('busy') ?? false)
  useEffect(() => {
    if (!isBusy) return
    void loadMachines()
    isOpen.value = true
  }, [isBusy])
  const passages = useMemo(() => {
    if (machine === undefined || run === undefined) return []
    return passagesOf(
      machine.definition,
      records.value.filter((record) => record.run === run.run),
    )
  }, [machine, run?.run, records.value])
  if (!isOpen.value || run === undefined) return null
  const last = passages.at(-1)
  return (
    <details
      class="handoff"
      open
      onToggle={(event) => {
        if (!event.currentTarget.open) isOpen.value = false
      }}
    >
      <summary>What happens: {work?.state}</summary>
      {isBusy && <ProgressLine what={`Upgrading daemon ${daemon}`} told={work?.told} state={work?.state} />}
      <ol class="steps">
        {passages.slice(-6).map(({ record }) => (
          <li key={record.seq}>
            <a href={linkTo('journal', { run: record.run, at: record.seq })}>{record.seq}</a>{' '}
            {eventText(record.event.type)}
          </li>
        ))}
      </ol>
      {machine !== undefined && (
        <Chart
          machine={machine}
          active={last?.active ?? activeIds(machine.definition, run.value)}
          taken={last?.edges ?? new Set()}
        />
      )}
    </details>
  )
}

const states: Readonly<Record<string, string>> = {
  connecting: 'Connecting …',
  changing: 'Being upgraded; the program goes on running.',
  attached: 'Attached',
}

function Shown({ daemon, session }: { readonly daemon: string; readonly session: SessionInfo }) {
  const place = useRef<HTMLDivElement>(null)
  const terminal = useSignal<AttachedTerminal | null>(null)
  const failure = useSignal<Failed | null>(null)
  useEffect(() => {
    let isOver = false
    let hide = () => {}
    attach(daemon, session).then(
      (attached) => {
        if (isOver || place.current === null) return
        hide = attached.show(place.current)
        terminal.value = attached
        attached.focus()
      },
      (error) => {
        failure.value = error as Failed
      },
    )
    return () => {
      isOver = true
      hide()
    }
  }, [])
  const state = terminal.value?.state.value ?? 'connecting'
  return (
    <section class="terminal-view" aria-label={`Terminal ${session.id}`}>
      <header>
        <h2>{session.id}</h2>
        <code>{session.command.join(' ')}</code>
        <span class="spacer" />
        <span role="status" class={`terminal-state ${state}`}>
          {state === 'ended' ? `It has ${terminal.value?.exit.value ?? 'ended'}.` : states[state]}
        </span>
        <a href={linkTo('terminals')}>Close view</a>
      </header>
      {failure.value !== null && <Failure what="The terminal could not be loaded;" failure={failure.value} />}
      <div class="terminal-place" ref={place} />
    </section>
  )
}
