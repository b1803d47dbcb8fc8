import fc from 'fast-check'
import { expect, test } from 'vitest'
import { classifyChange } from '../../src/plugins/classify.ts'

const manifest = { name: 'tint', version: '1.0.0', main: 'index.js', description: 'colours' }
const files = { 'index.js': 'a', 'README.md': 'b', 'lib/run.sh': 'c', 'docs/use.html': 'd', 'index.js.map': 'e' }

function tree(changed: Record<string, string | null> = {}, fields: object = {}) {
  const text = JSON.stringify({ ...manifest, ...fields })
  const all: Record<string, string | null> = { ...files, 'package.json': text, ...changed }
  const lines = Object.entries(all)
    .filter(([, hash]) => hash !== null)
    .map(([path, hash]) => `- ${Buffer.from(hash!).toString('hex')} ${JSON.stringify(path)}`)
  const folders = Object.keys(all).flatMap((path) => (path.includes('/') ? [path.split('/')[0]!] : []))
  for (const folder of new Set(folders)) lines.push(`d - ${JSON.stringify(folder)}`)
  return { listing: `${['instar-tree 1', ...lines.sort()].join('\n')}\n`, manifest: text }
}

const change = (changed: Record<string, string | null>, fields?: object) =>
  classifyChange(tree(), tree(changed, fields))

test.each([
  ['nothing', {}, {}, 'none'],
  ['a source map', { 'index.js.map': 'x' }, {}, 'none'],
  ['files of a desktop', { '.DS_Store': 'x', 'lib/Thumbs.db': 'x' }, {}, 'none'],
  ['the readme', { 'README.md': 'x' }, {}, 'reload'],
  ['a new page', { 'docs/more.png': 'x' }, {}, 'reload'],
  ['a page in a new folder', { 'man/tint.1': 'x' }, {}, 'reload'],
  ['the licence is gone', { 'README.md': null, LICENSE: 'x' }, {}, 'reload'],
  ['version and description', {}, { version: '1.0.1', description: 'more colours' }, 'reload'],
  ['readme, version and a map', { 'README.md': 'x', 'index.js.map': 'y' }, { version: '1.0.1' }, 'reload'],
  ['code', { 'index.js': 'x' }, { version: '1.0.1' }, 'restart'],
  ['code beside words', { 'README.md': 'x', 'lib/run.sh': 'x' }, {}, 'restart'],
  ['a new file', { 'new.js': 'x' }, {}, 'restart'],
  ['a file that is gone', { 'lib/run.sh': null }, {}, 'restart'],
  ['the entry', {}, { main: 'other.js' }, 'restart'],
  ['a field that nobody knows', {}, { contributes: { themes: 1 } }, 'restart'],
  ['what only looks like documentation', { 'lib/docs/run.js': 'x' }, {}, 'restart'],
])('%s', (_, changed, fields, expected) => {
  expect(change(changed, fields)).toBe(expected)
})

test('a change of the mode of a file is one', () => {
  const executable = { ...tree(), listing: tree().listing.replace(/^- (\w+) "lib\/run.sh"$/m, 'x $1 "lib/run.sh"') }
  expect(classifyChange(tree(), executable)).toBe('restart')
})

test('a manifest that cannot be read is not taken for the same', () => {
  expect(classifyChange(tree(), { ...tree({ 'package.json': 'x' }), manifest: null })).toBe('restart')
})

// Seen caught: folders that count as changes, a generated file that hides a change of code (`every` for `some`).
test('the order of changes does not matter, and going back is the same change', () => {
  const paths = fc.constantFrom('index.js', 'README.md', 'index.js.map', 'docs/use.html', 'lib/run.sh')
  fc.assert(
    fc.property(fc.dictionary(paths, fc.constantFrom('x', 'y')), (changed) => {
      const after = tree(changed)
      const expected = ['index.js', 'lib/run.sh'].some((path) => path in changed)
        ? 'restart'
        : ['README.md', 'docs/use.html'].some((path) => path in changed)
          ? 'reload'
          : 'none'
      expect(classifyChange(tree(), after)).toBe(expected)
      expect(classifyChange(after, tree())).toBe(expected)
    }),
  )
})
