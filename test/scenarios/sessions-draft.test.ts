import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedStream, FollowedText } from '../support/sessions/followed.ts'
import { numbered } from '../support/sessions/numbered-stream.ts'
import { sessionScene, TypedShell } from '../support/sessions/scene.ts'

const hesitant = 'test/support/sessions/hesitant-successor.ts'
const scene = sessionScene(hesitant)

test.each([
  { changes: 'nothing but what flows', isMore: false },
  { changes: 'sizes, ends, clients, and whom they follow', isMore: true },
])('between the draft and the freeze, $changes changes: the successor has it as it is', async ({ isMore }) => {
  await using trial = await scene.start({ keeper: true })
  const client = await trial.client({ reconnect: false })
  const [leaving, staying] = [await trial.client({ reconnect: false }), await trial.client({ reconnect: false })]
  const shell = new TypedShell(await client.open({ command: ['sh'] }))
  const ending = new FollowedStream(await client.open({ command: scene.programs.echo({ bytes: 1000, code: 7 }) }))
  const stream = await FollowedStream.begin(
    await client.open({ command: scene.programs.stream({ begin: 1, rate: 300_000 }) }),
  )
  const { id } = stream.session.info
  const left = new FollowedStream(await leaving.session(id))
  left.done.catch(() => {}) // its connection is closed below
  const unfollowed = new FollowedText(await staying.session(shell.session.id))
  await unfollowed.reaches(1)
  await left.reaches(1)
  // The first one begins otherwise than those that take over.
  const command: [string, ...string[]] = [process.execPath, scene.compiled.file(hesitant)]
  const file = join(trial.temporary, 'hesitates')
  const upgrade = async (meanwhile: () => Promise<void>) => {
    const upgraded = client.upgrade({ command })
    await eventually(() => existsSync(file), 'the draft read')
    await meanwhile()
    rmSync(file)
    return await upgraded
  }
  expect(await upgrade(async () => {})).toMatchObject({ outcome: 'handed-over', reason: null })
  const { connections } = await client.info()

  let come: FollowedStream | null = null
  const { outcome, successor } = await upgrade(async () => {
    if (!isMore) return
    await ending.session.write(numbered(16, 1000))
    await ending.ends()
    await shell.session.resize({ columns: 61, rows: 21 })
    await unfollowed.detach()
    await leaving.close()
    come = new FollowedStream(await (await trial.client({ reconnect: false })).session(id))
    await come.reaches(stream.offset)
  })

  expect(outcome).toBe('handed-over')
  await shell.asks('stty size', isMore ? '21 61' : '24 80')
  if (!isMore) await ending.session.write(numbered(16, 1000))
  expect(await ending.ends()).toMatchObject({ offset: 1016, code: 7, lost: false })
  const { offset } = stream.looked()
  for (const followed of [stream, ...(isMore ? [come!] : [left])]) await followed.reaches(offset + 100_000)
  const seen = unfollowed.offset
  await shell.asks('echo "af$((3))ter"', 'af3ter')
  if (isMore) expect(unfollowed.offset).toBe(seen)
  else await unfollowed.says('af3ter')
  // One client has left, and another has come.
  expect(await client.info()).toMatchObject({ pid: successor, connections })
  const ends = new Map((await client.list()).map(({ id, exit }) => [id, exit?.code]))
  expect(ends).toEqual(
    new Map([
      [shell.session.id, undefined],
      [ending.session.id, 7],
      [id, undefined],
    ]),
  )
})

test('a session that had ended and is forgotten between the draft and the freeze is forgotten by the successor, too', async () => {
  await using trial = await scene.start({ keeper: true })
  const client = await trial.client({ reconnect: false })
  // As many as are kept; the next one that ends takes the place of the first.
  for (let index = 0; index < 32; index += 1)
    await (await client.open({ id: `ended${index}`, command: ['true'], cwd: '/' })).exit
  const last = await client.open({ id: 'last', command: ['cat'], cwd: '/' })
  const file = join(trial.temporary, 'hesitates')
  const upgraded = client.upgrade({ command: [process.execPath, scene.compiled.file(hesitant)] })
  await eventually(() => existsSync(file), 'the draft read')
  await last.close()
  const before = (await client.list()).map(({ id }) => id)
  expect(before).not.toContain('ended0')
  rmSync(file)
  expect(await upgraded).toMatchObject({ outcome: 'handed-over' })
  expect((await client.list()).map(({ id }) => id).sort()).toEqual(before.sort())
})
