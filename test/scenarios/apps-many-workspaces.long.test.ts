import { expect, test } from 'vitest'
import { inParallel } from '../../src/in-parallel.ts'
import { bundle } from '../support/apps/bundle.ts'
import { shellServer } from '../support/apps/shell-server.ts'
import { Host } from '../support/host.ts'

const count = 200
/** Of which most is for journaling; what is kept for each workspace is a few kB. */
const growthMax = 200 * 1024 * 1024

test(`${count} workspaces with a small app are upgraded with bounded memory, and the controller answers meanwhile`, async () => {
  await using host = await Host.make({ bundled: null })
  const made = (version: string) =>
    bundle(host.directory, version, {
      type: 'binary',
      config: { command: '${__dirname}/bin/notes', args: [] },
      manifest: {},
      files: { 'bin/notes': { content: shellServer(version), mode: 0o755 }, 'server/index.mjs': { content: '' } },
    })
  const [older, newer] = [await made('1.0.0'), await made('2.0.0')]
  const controller = await host.open()
  const workspaces = Array.from({ length: count }, (_, at) => `w${String(at).padStart(3, '0')}`)
  for (const id of workspaces) await controller.workspaces.add(id)
  await controller.apps.install(older, { workspace: workspaces[0]! })
  await inParallel(8, workspaces.slice(1), (workspace) => controller.apps.install(older, { workspace }))

  const before = process.memoryUsage().rss
  const said = async (workspace: string) => {
    const answer = await controller.apps.call({ workspace, app: 'notes' }, 'version')
    return (answer as { content: { text: string }[] }).content[0]!.text
  }
  const answers: string[] = []
  let isOver = false
  const asking = (async () => {
    for (let at = 0; !isOver; at += 1) answers.push(await said(workspaces[at % count]!))
  })()
  const upgraded = await controller.apps.upgrade('notes', { to: newer })
  isOver = true
  await asking
  expect(upgraded).toMatchObject({ outcome: 'upgraded', from: '1.0.0', to: '2.0.0' })
  expect(upgraded.workspaces.map(({ id, outcome }) => `${id} ${outcome}`)).toEqual(
    workspaces.map((id) => `${id} upgraded`),
  )
  expect(process.memoryUsage().rss - before).toBeLessThan(growthMax)
  // Before, in the middle, and after.
  expect(answers.length).toBeGreaterThan(count / 10)
  expect(new Set(answers)).toEqual(new Set(['1.0.0', '2.0.0']))
  expect(await Promise.all(workspaces.map(said))).toEqual(workspaces.map(() => '2.0.0'))
  expect((await controller.apps.list())[0]!.workspaces).toHaveLength(count)
})
