import { expect, test } from 'vitest'
import { type Fault, type Prepared, pluginSet } from '../../machines/index.ts'
import { lintMachine } from '../../src/run/lint.ts'
import { done, failed, transcript } from '../../src/testing/transcript.ts'

const input = { target: 'local', members: ['a', 'b'].map((plugin) => ({ plugin, wanted: '^1' })) }
const fault = (of: Fault) => ({ name: 'Error', message: 'it broke', details: { fault: of } })
const release = { version: '1.0.0', digest: 'd', folder: '1.0.0-d' } as unknown as Prepared['staged']
const staged = (plugin: string): Prepared => ({
  plugin,
  version: '1.0.0',
  before: null,
  staged: release,
  failure: null,
})
const live = (plugin: string): Prepared => ({ ...staged(plugin), staged: null })
const bad = (plugin: string, of: Fault): Prepared => ({ ...live(plugin), failure: fault(of) })
const story = (...events: Parameters<typeof transcript>[2]) => transcript(pluginSet, input, events)
const last = (told: string) => told.split('\n').at(-1)
const prepared = done('prepare', [staged('a'), staged('b')])

test('follows every rule of the interpreter', () => {
  expect(lintMachine(pluginSet)).toEqual([])
})

test('all members are put in place before the first of them goes live', () => {
  const told = story(prepared, done('swap', []), done('prune'))
  expect(told.split('\n')).toEqual([
    'start -> preparing, do prepare',
    'prepare done -> swapping, do swap',
    'swap done -> pruning, do prune',
    'prune done -> installed, tell plugins.installed',
  ])
  expect(last(story(prepared, done('swap', []), failed('prune')))).toBe(
    'prune error -> installed, tell plugins.installed',
  )
})

test('one that is missing keeps all others back, and who is to blame is told', () => {
  const ends = (...found: Prepared[]) => last(story(done('prepare', found), done('discard')))
  expect(ends(staged('a'), bad('b', 'version'))).toBe('discard done -> rejected')
  expect(ends(staged('a'), bad('b', 'environment'))).toBe('discard done -> failed')
  expect(last(story(failed('prepare'), failed('discard')))).toBe('discard error -> failed')
})

test('where all are live already nothing is done', () => {
  expect(last(story(done('prepare', [live('a'), live('b')])))).toBe('prepare done -> current')
})

test('when one cannot go live all go back; where that fails too a person is called', () => {
  const back = [prepared, failed('swap')]
  expect(last(story(...back, done('goBack'), done('discard')))).toBe(
    'discard done -> rolledBack, tell plugins.rolledBack',
  )
  expect(last(story(...back, failed('goBack')))).toBe('goBack error -> blocked, tell plugins.blocked')
})

test('one that is cancelled in time leaves nothing', () => {
  expect(last(story({ type: 'cancel' }, done('discard')))).toBe('discard done -> cancelled')
})
