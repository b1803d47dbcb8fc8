import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InstarError } from '../../src/errors.ts'
import {
  type Frame,
  FrameReader,
  frameTypes,
  gapFrame,
  inputHead,
  jsonFrame,
  limits,
  methods,
  numberedFrame,
  outputHead,
  Request,
  readEvent,
  readJson,
  SessionId,
  splitGap,
  splitNumbered,
  splitOutput,
} from '../../src/sessions/protocol.ts'

const invalid = expect.objectContaining({ code: 'PROTOCOL_INVALID' })

/** What comes out of a reader that is given `pieces`, one after the other, each in memory that is used again. */
function framesOf(pieces: Iterable<Buffer>, reader = new FrameReader()): Frame[] {
  const frames: Frame[] = []
  for (const piece of pieces) {
    const lent = Buffer.from(piece)
    for (const { type, payload } of reader.push(lent)) frames.push({ type, payload: Buffer.from(payload) })
    lent.fill(0xee)
  }
  return frames
}

/** Cut at these places, which may be in any order. */
function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...places].map((place) => place % (bytes.length + 1)).sort((a, b) => a - b)
  return [...sorted, bytes.length].map((end, index) => bytes.subarray(sorted[index - 1] ?? 0, end))
}

const frameOf = ({ type, payload }: Frame): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(payload.length + 1, 0)
  head[4] = type
  return Buffer.concat([head, payload])
}

const anyBytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes))
const anyFrame: fc.Arbitrary<Frame> = fc.record({
  type: fc.integer({ min: 0, max: 255 }),
  payload: fc.oneof(anyBytes(40), anyBytes(3000)),
})
const anyFrames = fc.array(anyFrame, { maxLength: 12 })
const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const offset = fc.maxSafeNat()

describe('what is written is read again:', () => {
  test('JSON, with and without a number', () => {
    fc.assert(
      fc.property(u32, fc.jsonValue(), (number, value) => {
        const plain = JSON.parse(JSON.stringify(value))
        const [event, result] = framesOf([
          jsonFrame(frameTypes.event, value),
          numberedFrame(frameTypes.result, number, value),
        ])
        expect(event!.type).toBe(frameTypes.event)
        expect(JSON.parse(event!.payload.toString())).toEqual(plain)
        expect(result!.type).toBe(frameTypes.result)
        const split = splitNumbered(result!.payload)
        expect([split.number, JSON.parse(split.body.toString())]).toEqual([number, plain])
      }),
    )
  })

  test('input and output, whatever the bytes are', () => {
    fc.assert(
      fc.property(u32, offset, anyBytes(5000), (handle, at, bytes) => {
        fc.pre(at + bytes.length <= Number.MAX_SAFE_INTEGER)
        const [input, output] = framesOf([
          Buffer.concat([inputHead(handle, bytes.length), bytes, outputHead(handle, at, bytes.length), bytes]),
        ])
        expect(splitNumbered(input!.payload)).toEqual({ number: handle, body: bytes })
        expect(splitOutput(output!.payload)).toEqual({ handle, offset: at, bytes })
      }),
    )
  })

  test('gaps', () => {
    fc.assert(
      fc.property(u32, fc.tuple(offset, offset, offset), (handle, offsets) => {
        const [from, known, to] = offsets.sort((a, b) => a - b)
        const gap = { from, known, to }
        const [frame] = framesOf([gapFrame(handle, gap)])
        expect(frame!.type).toBe(frameTypes.gap)
        expect(splitGap(frame!.payload)).toEqual({ handle, gap })
      }),
    )
  })

  test('a frame byte by byte, as it is documented', () => {
    expect(outputHead(7, 0x1_0000_0002, 3).toString('hex')).toBe('00000010840000000700000001' + '00000002')
    expect(inputHead(7, 3).toString('hex')).toBe('000000080300000007')
    expect(gapFrame(7, { from: 1, known: 2, to: 3 }).toString('hex')).toBe(
      '0000001d8600000007000000000000000100000000000000020000000000000003',
    )
    expect(numberedFrame(frameTypes.request, 9, {}).toString('hex')).toBe('00000007020000000' + '97b7d')
  })
})

describe('a stream of frames', () => {
  test('can be cut anywhere, and the frames are the same', () => {
    fc.assert(
      fc.property(anyFrames, fc.array(fc.nat(), { maxLength: 30 }), (frames, places) => {
        const reader = new FrameReader()
        expect(framesOf(cutAt(Buffer.concat(frames.map(frameOf)), places), reader)).toEqual(frames)
        expect(reader.rest).toHaveLength(0)
      }),
    )
  })

  test('cut at each byte of some frames: those that are whole come, and the rest goes on in another reader', () => {
    const frames = [
      { type: frameTypes.output, payload: Buffer.from('0123456789') },
      { type: frameTypes.event, payload: Buffer.alloc(0) },
      { type: frameTypes.result, payload: Buffer.alloc(100, 'r') },
    ]
    const bytes = Buffer.concat(frames.map(frameOf))
    for (let at = 0; at <= bytes.length; at += 1) {
      const one = new FrameReader()
      const first = framesOf([bytes.subarray(0, at)], one)
      const whole = frames.filter((_, index) => Buffer.concat(frames.slice(0, index + 1).map(frameOf)).length <= at)
      expect(first).toEqual(whole)
      const rest = framesOf([one.rest, bytes.subarray(at)], new FrameReader())
      expect([...first, ...rest]).toEqual(frames)
      expect([...first, ...framesOf([bytes.subarray(at)], one)]).toEqual(frames)
    }
  })

  test('one byte at a time gives the same, also a large one', () => {
    const frame = { type: frameTypes.input, payload: Buffer.alloc(limits.dataBytesMax, 'x') }
    const bytes = frameOf(frame)
    expect(framesOf(Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual([frame])
  })

  test('that is not taken to its end goes on with the next bytes', () => {
    const frames = [1, 2, 3, 4].map((type) => ({ type, payload: Buffer.from([type]) }))
    const bytes = Buffer.concat(frames.map(frameOf))
    const reader = new FrameReader()
    const lent = Buffer.from(bytes.subarray(0, bytes.length - 1))
    for (const { type } of reader.push(lent)) if (type === 2) break
    lent.fill(0)
    expect(reader.rest).toEqual(bytes.subarray(12, -1))
    expect(framesOf([bytes.subarray(-1)], reader)).toEqual(frames.slice(2))
  })
})

describe('a length that no frame has', () => {
  test('ends it, after the frames before, and nothing more is read', () => {
    const wrongLength = fc.oneof(fc.constant(0), fc.integer({ min: limits.frameBytesMax + 1, max: 0xffff_ffff }))
    fc.assert(
      fc.property(anyFrames, wrongLength, fc.array(fc.nat(), { maxLength: 8 }), (frames, length, places) => {
        const wrong = Buffer.alloc(4)
        wrong.writeUInt32BE(length, 0)
        const bytes = Buffer.concat([...frames.map(frameOf), wrong, Buffer.alloc(100)])
        const reader = new FrameReader()
        const read: Frame[] = []
        const readAll = () => {
          for (const piece of cutAt(bytes, places)) for (const frame of reader.push(piece)) read.push(frame)
        }
        expect(readAll).toThrow(invalid)
        expect(read).toEqual(frames)
        expect(() => [...reader.push(frameOf(anEvent))]).toThrow(invalid)
        expect(reader.rest).toHaveLength(0)
      }),
    )
  })

  test('is the most that a reader takes, and one more', () => {
    const longest = { type: 1, payload: Buffer.alloc(limits.frameBytesMax - 1) }
    const tooLong = { type: 1, payload: Buffer.alloc(limits.frameBytesMax) }
    expect(framesOf([frameOf(longest)])).toEqual([longest])
    expect(() => framesOf([frameOf(tooLong)])).toThrow(invalid)
    expect(framesOf([frameOf(tooLong)], new FrameReader(limits.answerBytesMax))).toEqual([tooLong])
  })

  const anEvent = { type: frameTypes.event, payload: Buffer.from('{}') }
})

test('garbage gives frames or PROTOCOL_INVALID, and never holds more than one frame', () => {
  fc.assert(
    fc.property(fc.array(anyBytes(2000), { maxLength: 20 }), (pieces) => {
      const reader = new FrameReader(1000)
      try {
        for (const piece of pieces) {
          for (const { payload } of reader.push(piece)) expect(payload.length).toBeLessThan(1000)
          expect(reader.rest.length).toBeLessThanOrEqual(1004)
        }
      } catch (error) {
        expect(error).toEqual(invalid)
      }
    }),
  )
})

test('a length alone takes no memory, and bytes take no more than twice their number', () => {
  const promising = Buffer.alloc(5)
  promising.writeUInt32BE(limits.answerBytesMax, 0)
  const before = process.memoryUsage().arrayBuffers
  const readers = Array.from({ length: 1000 }, () => {
    const reader = new FrameReader(limits.answerBytesMax)
    for (const byte of promising) expect([...reader.push(Buffer.from([byte]))]).toEqual([])
    return reader
  })
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000)
  expect(readers[0]!.rest).toEqual(promising)
})

describe('payloads that are none are refused:', () => {
  test('every cut of a fixed part', () => {
    for (let length = 0; length < 4; length += 1) expect(() => splitNumbered(Buffer.alloc(length))).toThrow(invalid)
    for (let length = 0; length < 12; length += 1) expect(() => splitOutput(Buffer.alloc(length))).toThrow(invalid)
    for (let length = 0; length < 60; length += 1)
      if (length !== 28) expect(() => splitGap(Buffer.alloc(length))).toThrow(invalid)
  })

  test('offsets that no number can hold, or that do not ascend', () => {
    const huge = Buffer.alloc(12, 0xff)
    expect(() => splitOutput(huge)).toThrow(invalid)
    const last = outputHead(1, Number.MAX_SAFE_INTEGER, 1).subarray(5)
    expect(() => splitOutput(Buffer.concat([last, Buffer.from('x')]))).toThrow(invalid)
    expect(() => splitGap(Buffer.alloc(28, 0xff))).toThrow(invalid)
    for (const [from, known, to] of [
      [2, 1, 3],
      [1, 3, 2],
      [3, 2, 1],
    ] as const)
      expect(() => splitGap(gapFrame(1, { from, known, to }).subarray(5))).toThrow(invalid)
  })

  test('more output than a frame may hold', () => {
    const head = outputHead(1, 0, 0).subarray(5)
    expect(splitOutput(Buffer.concat([head, Buffer.alloc(limits.dataBytesMax)])).bytes).toHaveLength(
      limits.dataBytesMax,
    )
    expect(() => splitOutput(Buffer.concat([head, Buffer.alloc(limits.dataBytesMax + 1)]))).toThrow(invalid)
  })

  test('anything that is not JSON of the right shape', () => {
    fc.assert(
      fc.property(fc.oneof(anyBytes(200), fc.json().map(Buffer.from)), (bytes) => {
        for (const read of [() => readJson(Request, bytes, 'it'), () => readEvent(bytes)])
          try {
            read()
          } catch (error) {
            expect(error).toBeInstanceOf(InstarError)
            expect(error).toEqual(invalid)
          }
      }),
    )
    const deep = Buffer.from('['.repeat(limits.frameBytesMax - 1))
    expect(() => readJson(Request, deep, 'it')).toThrow(invalid)
  })
})

test('an event of a type that is not known yet is no error, a wrong one of a known type is', () => {
  const event = (value: unknown) => Buffer.from(JSON.stringify(value))
  expect(readEvent(event({ type: 'later', anything: 1 }))).toBeNull()
  expect(readEvent(event({ type: 'handed-over', version: '1', pid: 2, more: true }))).toEqual({
    type: 'handed-over',
    version: '1',
    pid: 2,
  })
  for (const wrong of [{}, [], null, 'x', { type: 'handed-over' }, { type: 1 }, { type: 'x'.repeat(65) }])
    expect(() => readEvent(event(wrong))).toThrow(invalid)
})

describe('parameters', () => {
  const taken = (params: unknown) => methods.open.params.safeParse(params).success

  test('of a session are refused where no program could be started with them', () => {
    expect(taken({})).toBe(true)
    expect(taken({ id: 'a.b-c_1', command: ['sh', ''], cwd: '/', env: { A: '' }, size: { columns: 1, rows: 1 } })).toBe(
      true,
    )
    for (const wrong of [
      { command: [] },
      { command: ['a\0b'] },
      { cwd: '/\0' },
      { env: { 'A=B': 'x' } },
      { env: { '': 'x' } },
      { env: { A: 'x\0' } },
      { size: { columns: 0, rows: 1 } },
      { size: { columns: 1e9, rows: 1 } },
      { size: { columns: 1.5, rows: 1 } },
      { size: { columns: 1 } },
      { more: true },
    ])
      expect(taken(wrong), JSON.stringify(wrong)).toBe(false)
  })

  test('name a session only in a way that is also a file name', () => {
    fc.assert(
      fc.property(fc.string(), (id) => {
        if (!SessionId.safeParse(id).success) return
        expect(id).toMatch(/^[\w.-]{1,64}$/)
        expect(id).not.toMatch(/^[._-]/)
      }),
    )
    for (const wrong of ['', '.', '..', 'a/b', 'a\n', '\0', 'ä', 'x'.repeat(65)])
      expect(SessionId.safeParse(wrong).success, wrong).toBe(false)
  })
})
