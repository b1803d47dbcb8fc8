import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { compile } from './support/compiled.ts'

const run = promisify(execFile)

test('a process lives as long as what it waits for, also where that does not keep it alive itself', async () => {
  const compiled = await compile('src/held.ts')
  const waitsFor = (wait: string) =>
    run(process.execPath, [
      '--input-type=module',
      '-e',
      `import { held } from ${JSON.stringify(compiled.file('src/held.ts'))}
       const something = () => new Promise((resolve) => setTimeout(resolve, 20, 'done').unref())
       console.log(await ${wait})`,
    ])
  try {
    expect((await waitsFor('held(something())')).stdout).toBe('done\n')
    await expect(waitsFor('something()')).rejects.toMatchObject({ code: 13 })
  } finally {
    await compiled.remove()
  }
})
