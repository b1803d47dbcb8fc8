import { computed } from '@preact/signals'
import type { Status } from './contract.ts'
import { status } from './live.ts'
import { linkTo } from './route.ts'

/** Something that waits for a person. */
export interface Attention {
  readonly urgency: 'broken' | 'look' | 'restart'
  readonly what: string
  readonly why: string
  readonly link: string
}

export const attention = computed(() => (status.value === null ? [] : attentionOf(status.value)))

/** What comes into effect only by a restart. */
export const restarts = computed(() => attention.value.filter(({ urgency }) => urgency === 'restart'))

export function attentionOf({ failure, runtimes, daemons, plugins, apps, runs }: Status): Attention[] {
  const found: Attention[] = []
  const add = (urgency: Attention['urgency'], what: string, why: string, link: string) =>
    found.push({ urgency, what, why, link })
  if (failure) add('broken', 'The journal failed', `${failure.message}. Nothing is done any more.`, linkTo('journal'))
  for (const { name, running, nextLaunch, lastCheck, problems } of runtimes ?? []) {
    const link = linkTo('runtime')
    if (running === null && nextLaunch === null)
      add('broken', `Runtime ${name}`, 'There is no version that could be launched.', link)
    if (running !== null && nextLaunch !== null && running.version !== nextLaunch)
      add('restart', `Runtime ${name}`, `runs ${running.version}; the next launch uses ${nextLaunch}`, link)
    if (lastCheck?.outcome === 'check-failed')
      add('look', `Runtime ${name}`, `The last check failed: ${lastCheck.reason ?? 'no reason was given'}`, link)
    for (const { reason, code } of problems.slice(-1)) add('look', `Runtime ${name}`, `${reason} [${code}]`, link)
  }
  for (const { name, state, running, failure: why, kept, wanted } of daemons ?? []) {
    const link = linkTo('terminals')
    if (state === 'unclear') add('broken', `Daemon ${name}`, why?.message ?? 'does not answer as it should', link)
    if (kept !== null) add('look', `Daemon ${name}`, `The update to ${wanted} was not taken: ${kept.message}`, link)
    else if (running?.standing === 'older')
      add(
        'restart',
        `Daemon ${name}`,
        `is ${running.version}; ${wanted} is here. Terminals stay through the upgrade.`,
        link,
      )
  }
  for (const { name, problem } of plugins ?? [])
    if (problem !== undefined) add('look', `Plugin ${name}`, problem, linkTo('plugins'))
  for (const { app, workspaces } of apps ?? [])
    for (const { workspace, state, failure: why } of workspaces)
      if (state === 'dead')
        add('broken', `App ${app} in ${workspace}`, why?.message ?? 'does not run', linkTo('apps', { app }))
  for (const { run, machine, tags } of runs ?? [])
    if (tags?.includes('blocked'))
      add(
        'broken',
        run,
        'is blocked, and goes on only when a person helps',
        linkTo(`charts/${machine.split('@')[0]}`, { run }),
      )
  return found
}
