import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'

const portionBytes = 256 * 1024
/** Most packages are smaller. */
const keptBytesMax = 64 * 1024 * 1024

/**
 * What a gzipped file holds, in portions of at most a quarter MiB, from its first byte each time it is iterated.
 *
 * What was read to its end and is not too much is kept: to decompress takes longer than all else that is done with a
 * package, and read again it is the same for certain.
 */
export class Inflated implements AsyncIterable<Buffer> {
  #kept: readonly Buffer[] | null = null

  constructor(readonly file: string) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, void> {
    if (this.#kept !== null) return yield* this.#kept
    const gunzip = createGunzip({ chunkSize: portionBytes })
    // The loop meets the error. Reading here, not in the pipeline, means that nobody writes any more once this has thrown.
    pipeline(createReadStream(this.file, { highWaterMark: portionBytes }), gunzip, () => {})
    let portions: Buffer[] = []
    let bytes = 0
    for await (const portion of gunzip as AsyncIterable<Buffer>) {
      bytes += portion.length
      if (bytes <= keptBytesMax) portions.push(portion)
      else portions = []
      yield portion
    }
    if (bytes <= keptBytesMax) this.#kept = portions
  }
}
