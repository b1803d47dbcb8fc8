import { expect, test } from 'vitest'
import { appRefusal, appRemove, workspaceAdjust } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'

const place = { app: 'notes', workspace: 'a' }

test.each([appRemove, appRefusal, workspaceAdjust])('follows every rule of the interpreter', (machine) => {
  expect(lintMachine(machine)).toEqual([])
})

test('an app is stopped before it is forgotten; one that cannot be stopped is still installed', () => {
  expect(transcript(appRemove, place, [done('stop'), done('forget')])).toMatchInlineSnapshot(`
    "start -> stopping, do stop
    stop done -> forgetting, do forget
    forget done -> removed, tell app.removed"
  `)
  expect(transcript(appRemove, place, [failed('stop')])).toMatchInlineSnapshot(`
    "start -> stopping, do stop
    stop error -> failed"
  `)
  expect(transcript(appRemove, place, [done('stop'), failed('forget')])).toMatchInlineSnapshot(`
    "start -> stopping, do stop
    stop done -> forgetting, do forget
    forget error -> failed"
  `)
})

test('a refusal is told, and does nothing', () => {
  const input = { action: 'upgrade', role: 'member' as const, token: 't', app: 'notes', workspace: null }
  expect(transcript(appRefusal, input, [])).toMatchInlineSnapshot(`"start -> refused, tell app.refused"`)
})

test('a workspace is added, or is not', () => {
  const input = { workspace: 'a', kind: 'add' as const }
  expect(transcript(workspaceAdjust, input, [done('carryOut')])).toMatchInlineSnapshot(`
    "start -> adjusting, do carryOut
    carryOut done -> adjusted, tell workspace.adjusted"
  `)
  expect(transcript(workspaceAdjust, input, [failed('carryOut')])).toMatchInlineSnapshot(`
    "start -> adjusting, do carryOut
    carryOut error -> refused"
  `)
})
