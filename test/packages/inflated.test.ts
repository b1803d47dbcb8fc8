import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { Inflated } from '../../src/packages/inflated.ts'
import { scratch } from './support.ts'

const MiB = 1024 * 1024

async function read(inflated: Inflated): Promise<Buffer> {
  const portions: Buffer[] = []
  for await (const portion of inflated) portions.push(portion)
  return Buffer.concat(portions)
}

test('what was read to its end is there again without its file; what was left half way is read anew', async () => {
  await using directory = await scratch()
  const file = join(directory.path, 'file.gz')
  const content = Buffer.alloc(3 * MiB, 'something else each time ')
  await writeFile(file, gzipSync(content))
  const inflated = new Inflated(file)
  for await (const portion of inflated) {
    expect(portion.length).toBeLessThanOrEqual(MiB / 4)
    break
  }
  expect((await read(inflated)).equals(content)).toBe(true)
  await rm(file)
  expect((await read(inflated)).equals(content)).toBe(true)
  await expect(read(new Inflated(file))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('of what is large nothing is kept', async () => {
  await using directory = await scratch()
  const file = join(directory.path, 'file.gz')
  await writeFile(file, gzipSync(Buffer.alloc(64 * MiB + 1)))
  const inflated = new Inflated(file)
  const length = async () => {
    let bytes = 0
    for await (const portion of inflated) bytes += portion.length
    return bytes
  }
  expect(await length()).toBe(64 * MiB + 1)
  expect(await length()).toBe(64 * MiB + 1)
  await rm(file)
  await expect(length()).rejects.toMatchObject({ code: 'ENOENT' })
})
