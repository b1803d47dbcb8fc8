import { expect, test } from 'vitest'
import { abortable } from '../../src/runtime/pause.ts'

test('what is followed no more may fail: nobody is told, and no rejection is left without a reader', async () => {
  const unread: unknown[] = []
  const note = (reason: unknown) => unread.push(reason)
  process.on('unhandledRejection', note)
  try {
    const before = AbortSignal.abort('too late')
    await expect(abortable(Promise.reject('failed already'), before)).rejects.toBe('too late')

    const meanwhile = new AbortController()
    let fail!: (reason: unknown) => void
    const followed = abortable(new Promise((_, reject) => (fail = reject)), meanwhile.signal)
    meanwhile.abort('changed my mind')
    fail('failed later')
    await expect(followed).rejects.toBe('changed my mind')

    await new Promise(setImmediate)
    expect(unread).toEqual([])
  } finally {
    process.off('unhandledRejection', note)
  }
})
