import { useSignal } from '@preact/signals'
import { act, pending, type Said } from '../model/actions.ts'
import type { PluginStatus, VerbResult } from '../model/contract.ts'
import { status } from '../model/live.ts'
import { ownersOnly } from '../model/permissions.ts'
import { nameOf } from '../model/runs.ts'
import { underWay } from '../model/under-way.ts'
import { plural, reasonText, sentences } from '../model/wording.ts'
import { ActionButton } from '../view/button.tsx'
import { Confirm } from '../view/confirm.tsx'
import { Badge, Card, Empty, Facts, NotForRole } from '../view/parts.tsx'
import { ProgressLine } from '../view/progress.tsx'

type Drift = Extract<VerbResult<'plugin.check'>['plugins'], readonly { standing: unknown }[]>

/** The plugins of this machine. */
export function Plugins() {
  const { plugins } = status.value ?? {}
  const drift = useSignal<VerbResult<'plugin.check'>['plugins'] | null>(null)
  if (!plugins) return <NotForRole what="Plugins" />
  const refusal = ownersOnly()
  const check = async (apply: boolean) => {
    const found = await act(`plugin-check ${apply}`, 'plugin.check', { apply }, ({ plugins: all }) =>
      saidOf(all, apply),
    )
    if (found !== undefined) drift.value = found.plugins
  }
  return (
    <>
      <div class="actions">
        <ActionButton action="plugin-check false" refusal={refusal} onAct={() => void check(false)}>
          Check subscriptions
        </ActionButton>
        <ActionButton action="plugin-check true" refusal={refusal} onAct={() => void check(true)}>
          Update all that are behind
        </ActionButton>
      </div>
      <UnderWayNow />
      {drift.value !== null && drift.value.length > 0 && <Standing drift={drift.value as Drift} />}
      <Install refusal={refusal} />
      {plugins.length === 0 ? (
        <Empty title="No plugin is installed on this machine">
          <p>
            Install one above, or with <code>instar plugin install NAME</code>. Plugins on other targets are shown by{' '}
            <code>instar plugin list --target NAME</code>.
          </p>
        </Empty>
      ) : (
        plugins.map((plugin) => <Plugin key={plugin.name} plugin={plugin} refusal={refusal} />)
      )}
    </>
  )
}

function saidOf(all: readonly unknown[], applied: boolean): Said {
  const some = all as Drift
  if (some.length === 0) return { kind: 'plain', text: 'No plugin is subscribed to.' }
  const behind = some.filter(({ standing }) => standing === 'behind').length
  if (applied)
    return {
      kind: behind === 0 ? 'good' : 'plain',
      text: behind === 0 ? 'All are current.' : `${plural(behind, 'plugin')} could not be updated.`,
    }
  return { kind: 'plain', text: behind === 0 ? 'All are current.' : `${plural(behind, 'plugin')} could be updated.` }
}

/** Installations that go on, by whoever. */
function UnderWayNow() {
  const active = (status.value?.runs ?? []).filter(({ machine }) => nameOf(machine).startsWith('plugin-'))
  return (
    <>
      {active.map(({ run, machine, key }) => {
        const work = underWay(nameOf(machine), key)
        return work && <ProgressLine key={run} what={key} told={work.told} state={work.state} />
      })}
    </>
  )
}

const tones = { current: 'good', behind: 'live', refused: 'bad', 'check-failed': 'bad' } as const

function Standing({ drift }: { readonly drift: Drift }) {
  return (
    <Card title="Subscriptions">
      <ul class="rows">
        {drift.map(({ plugin, target, wanted, live, offered, standing, reason }) => (
          <li key={`${target} ${plugin}`}>
            <Badge tone={tones[standing as keyof typeof tones] ?? 'plain'}>{standing}</Badge>
            <span>
              {plugin} on {target}: {live ?? 'nothing'} {offered !== null && offered !== live && `→ ${offered}`}{' '}
              <span class="quiet">follows {wanted}</span> {reason && <span class="bad-text">{reason}</span>}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  )
}

function Install({ refusal }: { readonly refusal: string | null }) {
  const spec = useSignal('')
  const install = async (event: Event) => {
    event.preventDefault()
    const wanted = spec.value.trim()
    if (wanted === '') return
    const params = { specs: [wanted], folder: '/' }
    const done = await act('plugin-install', 'plugin.install', params, ({ plugins: [one] }) => ({
      kind: one?.outcome === 'installed' || one?.outcome === 'current' ? 'good' : 'bad',
      text: `${one?.plugin ?? wanted}: ${one?.outcome} ${one?.version ?? ''}`,
      hint: sentences(reasonText(one ?? {}), one?.hint, one?.change && `Whoever has it loaded: ${one.change}`),
    }))
    if (done !== undefined) spec.value = ''
  }
  const isBusy = pending.value.has('plugin-install')
  return (
    <form class="bar" onSubmit={(event) => void install(event)}>
      <label>
        Install
        <input
          value={spec.value}
          placeholder="name, name@range or an absolute path"
          disabled={refusal !== null}
          onInput={(event) => {
            spec.value = event.currentTarget.value
          }}
        />
      </label>
      <button type="submit" class="primary" disabled={isBusy || refusal !== null} aria-busy={isBusy}>
        Install
      </button>
      {refusal !== null && <span class="why-not">{refusal}</span>}
      {isBusy && <ProgressLine what="Installing" />}
    </form>
  )
}

function Plugin({ plugin, refusal }: { readonly plugin: PluginStatus; readonly refusal: string | null }) {
  const { name, version, previous, kept, contributes, problem } = plugin
  return (
    <Card title={name} aside={version === null ? <Badge>removed</Badge> : <Badge tone="good">{version}</Badge>}>
      {problem !== undefined && <p class="bad-text">{problem}</p>}
      <Facts
        facts={[
          ['Live', version ?? 'nothing'],
          ['Previous', previous ?? 'none'],
          ['Kept', kept.length > 0 && kept.join(', ')],
          ['Adds to', contributes !== null && contributes.length > 0 && contributes.join(', ')],
        ]}
      />
      <div class="actions">
        <Confirm
          action={`plugin-rollback ${name}`}
          refusal={refusal}
          disabled={previous === null}
          title="Roll back"
          label={`Roll back ${name}`}
          question={`Make ${previous} live again in place of ${version}?`}
          answer="Roll back"
          danger
          onConfirm={() =>
            void act(`plugin-rollback ${name}`, 'plugin.rollback', { name }, ({ outcome, version: now, reason }) => ({
              kind: outcome === 'installed' ? 'good' : 'bad',
              text: `${name}: ${outcome} ${now ?? ''}`,
              hint: reason,
            }))
          }
        />
        <ActionButton
          action={`plugin-verify ${name}`}
          refusal={refusal}
          label={`Verify ${name}`}
          onAct={() =>
            void act(`plugin-verify ${name}`, 'plugin.verify', { name }, ({ plugins: [one] }) => ({
              kind: one?.whole ? 'good' : 'bad',
              text: `${name}: ${one?.whole ? 'every file is as it was installed' : 'not whole'}`,
              hint: one?.problems.join('; '),
            }))
          }
        >
          Verify
        </ActionButton>
        <Confirm
          action={`plugin-remove ${name}`}
          refusal={refusal}
          title="Remove"
          label={`Remove ${name}`}
          question={`Take ${name} away from this machine?`}
          answer="Remove it"
          danger
          onConfirm={() =>
            void act(`plugin-remove ${name}`, 'plugin.remove', { name }, ({ reason }) => ({
              kind: reason === undefined ? 'good' : 'plain',
              text: `${name} is gone.`,
              hint: reason,
            }))
          }
        />
      </div>
    </Card>
  )
}
