/**
 * The numbered stream, which `terminal-program.c` prints: byte n depends on n alone. Lines of 16 bytes, each its own
 * offset in 15 hexadecimal digits. What was received is compared byte by byte, and a byte that was lost, doubled or
 * moved cannot look right.
 */

const lineBytes = 16
const digits = lineBytes - 1
const blockBytes = 4096
/** How many of a line's digits are the same in every block. */
const lowDigits = 3

/** One block of the stream at a time, rewritten in place where the next one differs. */
class Block {
  private readonly bytes = Buffer.alloc(blockBytes)
  private high = '0'.repeat(digits - lowDigits)

  constructor() {
    for (let at = 0; at < blockBytes; at += lineBytes)
      this.bytes.write(`${at.toString(16).padStart(digits, '0')}\n`, at, 'latin1')
  }

  at(index: number): Buffer {
    const high = index.toString(16).padStart(digits - lowDigits, '0')
    for (let digit = 0; digit < high.length; digit += 1) {
      if (high[digit] === this.high[digit]) continue
      const code = high.charCodeAt(digit)
      for (let at = digit; at < blockBytes; at += lineBytes) this.bytes[at] = code
    }
    this.high = high
    return this.bytes
  }
}

/** Calls `piece` with what the stream holds from byte `from` on, piece by piece; each is valid during the call. */
function pieces(block: Block, from: number, length: number, piece: (bytes: Buffer, at: number) => void): void {
  for (let done = 0; done < length; ) {
    const offset = from + done
    const start = offset % blockBytes
    const size = Math.min(blockBytes - start, length - done)
    piece(block.at(Math.floor(offset / blockBytes)).subarray(start, start + size), done)
    done += size
  }
}

export function numbered(from: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  pieces(new Block(), from, length, (piece, at) => piece.copy(bytes, at))
  return bytes
}

/** Compares what is received, in order, with the numbered stream. */
export class NumberedCheck {
  private readonly block = new Block()

  constructor(private at = 0) {}

  /** How far it has come. */
  get offset(): number {
    return this.at
  }

  /** @throws {Error} where a byte is not the one that belongs here. */
  take(bytes: Buffer): void {
    pieces(this.block, this.at, bytes.length, (expected, at) => {
      if (bytes.compare(expected, 0, expected.length, at, at + expected.length) === 0) return
      const wrong = expected.findIndex((byte, index) => byte !== bytes[at + index])
      const offset = this.at + at + wrong
      const got = bytes.subarray(at + wrong, at + wrong + 2 * lineBytes).toString('latin1')
      throw new Error(
        `byte ${offset} (0x${offset.toString(16)}) differs; from there on it reads ${JSON.stringify(got)}`,
      )
    })
    this.at += bytes.length
  }

  /** Goes on at `offset`; what is before it was told to be gone. */
  skipTo(offset: number): void {
    this.at = offset
  }
}

/** Where in the stream `bytes` begin, which may be in the middle of a line; null where no whole line is in them. */
export function offsetIn(bytes: Buffer): number | null {
  const line = /[0-9a-f]{15}(?=\n)/.exec(bytes.toString('latin1', 0, 3 * lineBytes))
  return line === null ? null : Number.parseInt(line[0], 16) - line.index
}
