import { expect, test } from 'vitest'
import * as client from '../../src/sessions/index.ts'
import { screenOf } from '../../src/sessions/show-session.ts'
import { FollowedText } from '../support/sessions/followed.ts'
import { sessionScene } from '../support/sessions/scene.ts'

const scene = sessionScene()

test('one who comes late gets the screen as it is, and follows from there', async () => {
  await using trial = await scene.start()
  const draws = `printf 'gone\\033[2J\\033[2;3Hdrawn \\033[1mbold\\033[0m'; read line; echo "then $line"; read line`
  const size = { columns: 40, rows: 5 }
  const { id } = await (await trial.client()).open({ command: ['sh', '-c', draws], size })
  await (await trial.client()).session(id).then((session) => new FollowedText(session).says('bold'))

  const session = await (await trial.client()).session(id)
  const screen = await screenOf(session)
  expect(screen).toMatchObject({ size, text: '\n  drawn bold\n\n\n', isComplete: true })
  expect(screen.cursor).toEqual({ column: 12, row: 1, isVisible: true })
  const output = new FollowedText(session, session.info.offset)
  await session.write('x\n')
  await output.says('then x')
  expect(output.text).not.toContain('drawn')
  await expect(screenOf(session)).rejects.toMatchObject({ code: 'SESSION_ATTACHED' })
})

test('it is a module of its own, beside the client', async () => {
  const name = 'instar/sessions/screen'
  const exported = Object.keys(await import(name)).sort()
  expect(exported).toEqual(['attachTerminal', 'parseDetachKey', 'renderScreen', 'screenOf'])
  for (const each of exported) expect(client).not.toHaveProperty(each)
})
