import { afterEach, beforeEach, expect, test } from 'vitest'
import { machines } from '../../machines/index.ts'
import { ConsoleTrial, codeOf } from '../support/console/console-trial.ts'

let trial: ConsoleTrial
let cookie: string
beforeEach(async () => {
  trial = await ConsoleTrial.make()
  cookie = await trial.signIn()
})
afterEach(() => trial[Symbol.asyncDispose]())

test('every machine is described, and drawn without a style of its own', async () => {
  const told = JSON.parse((await trial.send('/console/machines', { cookie })).text) as any[]
  expect(told.map(({ name }) => name)).toEqual(Object.keys(machines))
  const install = told.find(({ name }) => name === 'plugin-install')
  expect(install).toMatchObject({ title: 'Plugin install', svg: '/console/machines/plugin-install.svg' })
  expect(install.definition.edges.length).toBeGreaterThan(10)
  for (const { name, svg } of told) {
    const { status, headers, text } = await trial.send(svg, { cookie })
    expect({ name, status, type: headers['content-type'] }).toEqual({ name, status: 200, type: 'image/svg+xml' })
    expect(text).toMatch(/^<svg [^>]*class="statechart"/)
    expect(text).not.toMatch(/<style|style=/)
  }
  expect(codeOf(await trial.send('/console/machines/nothing.svg', { cookie }))).toBe('MACHINE_UNKNOWN')
})

test('a run is shown at any record, with what that record changed', async () => {
  await trial.controller.workspaces.add('a')
  const { run, seq } = trial.controller.runs().at(-1)!
  const at = async (path: string) => JSON.parse((await trial.send(`/console/runs/${path}`, { cookie })).text)
  const last = await at(run)
  expect(last.state).toEqual(JSON.parse(JSON.stringify(trial.controller.run(run))))
  expect(last.previous).toEqual(JSON.parse(JSON.stringify(await trial.controller.stateAt(run, seq - 1))))
  expect(last.diff).toContainEqual({ path: 'value', before: last.previous.value, after: last.state.value })
  const first = await at(`${run}?at=${last.state.startedSeq}`)
  expect(first).toMatchObject({ previous: null, diff: [] })
  expect(await at(`${run}?at=${seq}`)).toEqual(last)
  expect(codeOf(await trial.send(`/console/runs/${run}?at=${seq + 100}`, { cookie }))).toBe('SEQUENCE_UNKNOWN')
  expect(codeOf(await trial.send('/console/runs/nothing-1', { cookie }))).toBe('RUN_UNKNOWN')
  expect((await trial.send(`/console/runs/${run}?at=x`, { cookie })).status).toBe(400)
})
