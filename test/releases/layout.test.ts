import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeName, encodeName, isCanonical, isReleaseFolder, placeOf } from '../../src/releases/layout.ts'

const names = fc.oneof(
  fc.constantFrom('@a/b-c', '@a-b/c', '@a/b', 'a', 'A', 'con', 'con.x', 'a.', '.a', '..', 'a+b', 'a=2bb', 'ä', 'a/b/c'),
  fc.string({ unit: fc.constantFrom(...'aAb/+=26.-@'), minLength: 1, maxLength: 4 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
)

// Seen caught: capitals that stand for themselves (`layout.ts`).
test('different names never share a folder, not even where the file system ignores case', () => {
  fc.assert(
    fc.property(names, names, (a, b) => {
      if (a !== b) expect(encodeName(a).toLowerCase()).not.toBe(encodeName(b).toLowerCase())
    }),
    { numRuns: 2_000 },
  )
})

test('a folder is one plain path component that gives its name back', () => {
  fc.assert(
    fc.property(names, (name) => {
      const folder = encodeName(name)
      expect(folder).toMatch(/^[a-z0-9@+=_-]([a-z0-9._@+=-]*[a-z0-9@+=_-])?$/)
      expect(decodeName(folder)).toBe(name)
    }),
  )
})

test('scoped names read well and stay apart', () => {
  expect(encodeName('@a/b-c')).toBe('@a+b-c')
  expect(encodeName('@a-b/c')).toBe('@a-b+c')
})

test('a folder that no name gives is nobody’s', () => {
  for (const folder of ['.git', '=zz', 'Upper', '=61', '=ff', 'a b']) expect(decodeName(folder)).toBeNull()
})

test('a name that is empty, endless or half a character is refused', () => {
  for (const name of ['', 'x'.repeat(200), '\ud800'])
    expect(() => placeOf('/home', 'runtime', name)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
})

test('a version is canonical only as semver would print it', () => {
  for (const version of ['1.2.3', '1.2.3-rc.1', '0.0.0-x']) expect(isCanonical(version)).toBe(true)
  for (const version of [
    'v1.2.3',
    ' 1.2.3',
    '1.2.3 ',
    '1.2',
    '1.2.3+build',
    '=1.2.3',
    '01.2.3',
    '../1.2.3',
    '',
    `1.2.3-${'a'.repeat(190)}`,
  ])
    expect(isCanonical(version)).toBe(false)
})

test('the folder of a release is told from other folders', () => {
  expect(isReleaseFolder('1.2.3-0123456789ab')).toBe(true)
  expect(isReleaseFolder('1.2.3-rc-1-0123456789ab')).toBe(true)
  for (const folder of ['1.2.3', 'v1.2.3-0123456789ab', '1.2.3-0123456789', '.staging-0123456789ab'])
    expect(isReleaseFolder(folder)).toBe(false)
})
