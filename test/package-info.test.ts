import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { isBundled, packageVersion, shippedFile } from '../src/package-info.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

test('the version that the code says of itself is the one in package.json', () => {
  expect(packageVersion).toBe(JSON.parse(readFileSync(`${root}package.json`, 'utf8')).version)
})

test('what is shipped is found beside the code', () => {
  expect({ isBundled, keeper: shippedFile('dist/native/keeper') }).toEqual({
    isBundled: false,
    keeper: `${root}dist/native/keeper`,
  })
})
