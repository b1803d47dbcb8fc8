import { spawn } from 'node:child_process'
import { PassThrough, type Readable } from 'node:stream'
import { InstarError } from '../errors.ts'
import { printable } from '../printable.ts'

/** Enough that packing goes on while a connection takes a breath. */
const bufferBytes = 4 * 1024 * 1024
const complaintBytesMax = 4096
/** Between two reports of how far it is. */
const reportBytes = 1024 * 1024

/**
 * A tar stream of what is in a folder, by the system's `tar`: it is several times as fast as one in JavaScript, and who
 * sends a tree to a `tar` far away has one near.
 *
 * The stream fails with `TARGET_UNSUPPORTED` where there is none, and with `TARGET_FAILED` where it could not read all.
 */
export function pack(folder: string, onBytes: (bytes: number) => void): Readable {
  // The user's own options would change what is packed; on macOS it would add files for what it calls extended attributes.
  const { TAR_OPTIONS: _, ...others } = process.env
  const env = { ...others, COPYFILE_DISABLE: '1' }
  const tar = spawn('tar', ['-C', folder, '-c', '-f', '-', '.'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const out = new PassThrough({ highWaterMark: bufferBytes })
  let [bytes, reported] = [0, 0]
  tar.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes - reported < reportBytes) return
    reported = bytes
    onBytes(bytes)
  })
  let complaint = Buffer.alloc(0)
  tar.stderr.on('data', (chunk: Buffer) => {
    complaint = Buffer.concat([complaint, chunk]).subarray(-complaintBytesMax)
  })
  tar.stdout.pipe(out, { end: false })
  tar.once('error', (cause) =>
    out.destroy(new InstarError('TARGET_UNSUPPORTED', 'there is no program "tar" here', { cause })),
  )
  tar.once('close', (code) => {
    if (code === 0) {
      onBytes(bytes)
      out.end()
      return
    }
    const why = printable(complaint.toString('utf8')).trim() || `tar ended with code ${code}`
    out.destroy(new InstarError('TARGET_FAILED', `${folder} could not be packed: ${why}`))
  })
  // Nobody wants the rest of it.
  out.once('close', () => tar.kill('SIGKILL'))
  return out
}
