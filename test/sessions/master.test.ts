import { closeSync, openSync } from 'node:fs'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { Master } from '../../src/sessions/master.ts'
import type { Forked } from '../../src/sessions/native-pty.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { NumberedCheck, numbered } from '../support/sessions/numbered-stream.ts'
import { TerminalProgram } from '../support/sessions/terminal-program.ts'
import { Terminals } from '../support/sessions/terminals.ts'

let programs: TerminalProgram
let terminals: Terminals
const readers: Reader[] = []

beforeAll(async () => {
  programs = await TerminalProgram.build()
})
afterAll(() => programs[Symbol.asyncDispose]())
beforeEach(() => {
  terminals = new Terminals()
})
afterEach(async () => {
  for (const { master } of readers.splice(0)) master.close()
  await terminals[Symbol.asyncDispose]()
})

/** A program in a terminal, and what its master tells. */
class Reader {
  readonly forked: Forked
  readonly master: Master
  readonly check = new NumberedCheck()
  text = ''
  ends = 0
  onData: (() => void) | undefined

  constructor(command: readonly string[], isNumbered = true) {
    this.forked = terminals.open(command)
    this.master = new Master(this.forked.master, {
      data: (bytes) => {
        if (this.ends > 0) throw new Error('output after the end')
        if (isNumbered) this.check.take(bytes)
        else this.text += bytes.toString('latin1')
        this.onData?.()
      },
      end: () => {
        this.ends += 1
      },
    })
    readers.push(this)
  }

  async says(text: string): Promise<void> {
    await eventually(() => this.text.includes(text), `"${text}"`)
  }

  async end(): Promise<void> {
    await eventually(() => this.ends > 0, 'the end')
    await turn()
    expect(this.ends).toBe(1)
  }
}

/** A process that prints and is in nobody's way may print for a while; this blocks as a busy daemon would. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

test('output at full speed arrives once and in order, however often reading is stopped', async () => {
  const bytes = 30_000_000
  const reader = new Reader(programs.stream({ bytes }))
  let stops = 0
  let calls = 0
  reader.onData = () => {
    calls += 1
    if (calls % 7 !== 0) return
    reader.master.stop() // also in the middle of a row of reads
    reader.master.stop()
    stops += 1
  }
  reader.master.start()
  reader.master.start()
  while (reader.ends === 0) {
    await sleep(1)
    reader.master.stop()
    const { offset } = reader.check
    const told = calls
    await turn()
    block(1)
    expect(reader.check.offset).toBe(offset)
    expect(calls).toBe(told)
    reader.master.start()
  }
  await reader.end()
  expect(reader.check.offset).toBe(bytes)
  expect(stops).toBeGreaterThan(20)
})

test('after stop nothing is told, not even what the terminal holds already', async () => {
  const reader = new Reader(programs.stream())
  reader.master.start()
  await eventually(() => reader.check.offset > 100_000)
  reader.master.stop()
  const { offset } = reader.check
  await sleep(100)
  expect(reader.check.offset).toBe(offset)
  reader.master.start()
  await eventually(() => reader.check.offset > offset)
})

test.each([
  ['right before the end', async () => {}],
  ['while this process was busy', async () => block(300)],
])('what a program prints %s arrives whole', async (_when, meanwhile) => {
  const reader = new Reader(programs.stream({ bytes: 11_000, code: 7 }))
  reader.master.start()
  await meanwhile()
  await reader.end()
  expect(reader.check.offset).toBe(11_000)
  expect(await reader.forked.exited).toEqual({ code: 7, signal: null })
})

test('what a program printed while reading was stopped arrives when it is started again', async () => {
  const reader = new Reader(programs.stream({ bytes: 11_000 }))
  await reader.forked.exited
  await sleep(50)
  expect([reader.check.offset, reader.ends]).toEqual([0, 0])
  reader.master.start()
  await reader.end()
  expect(reader.check.offset).toBe(11_000)
})

test('who stops at the last bytes hears of the end only after starting again', async () => {
  const reader = new Reader(programs.stream({ bytes: 11_000 }))
  await reader.forked.exited
  reader.onData = () => {
    if (reader.check.offset === 11_000) reader.master.stop()
  }
  reader.master.start()
  await eventually(() => reader.check.offset === 11_000)
  await sleep(20)
  expect(reader.ends).toBe(0)
  reader.master.start()
  await reader.end()
})

test('of a program that is known to have ended, all it printed is told on the spot', async () => {
  const reader = new Reader(programs.stream({ bytes: 11_000 }))
  await reader.forked.exited
  reader.master.finish()
  expect([reader.check.offset, reader.ends]).toEqual([11_000, 1])
  reader.master.finish()
  reader.master.start()
  await sleep(20)
  expect(reader.ends).toBe(1)
})

test('a process that keeps the terminal and prints on delays the end of its program’s output by no more than a read', async () => {
  // It prints once the program has ended: before, it would leave no room for what that prints.
  const other = '( while kill -0 $$ 2>/dev/null; do sleep 0.01; done; exec yes )'
  const reader = new Reader(['/bin/sh', '-c', `trap '' HUP; ${other} & echo pid=$!; printf '%s' last; exit 3`], false)
  expect(await reader.forked.exited).toEqual({ code: 3, signal: null })
  await sleep(100)
  reader.master.finish()
  expect(reader.ends).toBe(1)
  expect(reader.text.length).toBeLessThanOrEqual(64 * 1024)
  expect(reader.text).toContain('last')
  const pid = Number(/pid=(\d+)/.exec(reader.text)![1])
  reader.master.close()
  await eventually(() => !isAlive(pid), 'the end of what printed on')
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('a large paste waits for a program that reads later, while everything else goes on', async () => {
  const bytes = 1_000_000
  const reader = new Reader(programs.sink({ delay: 2000, bytes }), false)
  reader.master.start()
  await reader.says('ready')
  let drains = 0
  let unsentAtDrain = 0
  reader.master.onDrain = () => {
    drains += 1
    unsentAtDrain = reader.master.unsentBytes
  }
  let ticks = 0
  const ticking = setInterval(() => {
    ticks += 1
  }, 5)
  reader.master.write(numbered(0, bytes))
  expect(reader.master.unsentBytes).toBeGreaterThan(900_000)
  await reader.says('\n')
  await reader.says('whole')
  clearInterval(ticking)
  expect(ticks).toBeGreaterThan(20)
  expect(reader.master.unsentBytes).toBe(0)
  expect(drains).toBe(1)
  expect(unsentAtDrain).toBeLessThan(64 * 1024)
})

test('many small writes to a program that reads later arrive in order', async () => {
  const bytes = 60_000
  const reader = new Reader(programs.sink({ delay: 300, bytes }), false)
  reader.master.start()
  await reader.says('ready')
  const input = numbered(0, bytes)
  for (let at = 0; at < bytes; at += 7) {
    const piece = Buffer.from(input.subarray(at, at + 7))
    reader.master.write(piece)
    piece.fill(0) // it is the writer's again
  }
  await reader.says('whole')
})

test('what was taken back and what was sent is the whole, at any moment', async () => {
  const bytes = 400_000
  const reader = new Reader(programs.sink({ delay: 50, bytes }), false)
  reader.master.start()
  await reader.says('ready')
  const input = numbered(0, bytes)
  reader.master.write(input.subarray(0, 100))
  reader.master.write(input.subarray(100, 150_000))
  reader.master.write(input.subarray(150_000))
  for (let taken = 0; reader.master.unsentBytes > 0; taken += 1) {
    const { unsentBytes } = reader.master
    const rest = reader.master.takeUnsent()
    expect(rest).toHaveLength(unsentBytes)
    expect(rest.equals(input.subarray(bytes - rest.length))).toBe(true)
    expect(reader.master.unsentBytes).toBe(0)
    expect(reader.master.takeUnsent()).toHaveLength(0)
    // Were anything of it written now, it would arrive twice.
    await sleep(taken % 5)
    const half = Math.floor(rest.length / 2)
    reader.master.write(rest.subarray(0, half))
    reader.master.write(rest.subarray(half))
    await sleep(20)
  }
  await reader.says('whole')
})

test('input that nobody can receive any more is dropped, and whoever waits is told to go on', async () => {
  const reader = new Reader(programs.idle(), false)
  reader.master.start()
  await reader.says('ready')
  let drains = 0
  reader.master.onDrain = () => {
    drains += 1
  }
  reader.master.write(Buffer.alloc(1_000_000))
  expect(reader.master.unsentBytes).toBeGreaterThan(0)
  process.kill(reader.forked.pid, 'SIGKILL')
  expect(await reader.forked.exited).toEqual({ code: null, signal: 'SIGKILL' })
  await reader.end()
  await eventually(() => reader.master.unsentBytes === 0, 'dropping the input')
  expect(drains).toBe(1)
  reader.master.write(Buffer.from('anybody?'))
  expect(reader.master.unsentBytes).toBe(0)
})

test('after close nothing is told or written, and its program is hung up', async () => {
  const reader = new Reader(programs.stream())
  reader.master.start()
  await eventually(() => reader.check.offset > 0)
  reader.master.write(Buffer.alloc(100_000))
  reader.master.close()
  const { offset } = reader.check
  const others: number[] = []
  while (!others.includes(reader.master.fd)) others.push(openSync('/dev/zero', 'r+')) // the number is another's by now
  reader.master.close()
  reader.master.start()
  reader.master.stop()
  reader.master.finish()
  reader.master.write(Buffer.alloc(100_000))
  expect(reader.master.unsentBytes).toBe(0)
  for (const other of others) closeSync(other) // none of which was closed
  const { code, signal } = await reader.forked.exited
  expect(signal ?? code).toSatisfy((how: unknown) => how === 'SIGHUP' || how === 129)
  expect([reader.check.offset, reader.ends]).toEqual([offset, 0])
})

test('it can be closed while it tells something', async () => {
  const reader = new Reader(programs.stream())
  reader.onData = () => reader.master.close()
  reader.master.start()
  await reader.forked.exited
  await sleep(20)
  expect(reader.ends).toBe(0)
})

test('a descriptor that is not open is refused', () => {
  expect(() => new Master(900_000, { data() {}, end() {} })).toThrow('cannot be polled: EBADF')
})
