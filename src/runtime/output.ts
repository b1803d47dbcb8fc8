import { appendFile, open, stat, truncate } from 'node:fs/promises'
import { stripVTControlCharacters } from 'node:util'

/** Where a child's two streams go: files, so that it neither blocks nor dies when the controller is gone. */
export function outputPaths(record: string): { readonly stdout: string; readonly stderr: string } {
  const stem = record.replace(/\.json$/, '')
  return { stdout: `${stem}.stdout.log`, stderr: `${stem}.stderr.log` }
}

const excerptBytes = 16_384
const excerptLines = 20

/**
 * The last lines a child printed, stderr first because that is where reasons are; without colours and control
 * characters. Bounded, whatever the size of the files; empty where there is nothing.
 */
export async function lastOutput(record: string): Promise<{ stdout: string; stderr: string }> {
  const { stdout, stderr } = outputPaths(record)
  const [out, err] = await Promise.all([readTail(stdout), readTail(stderr)])
  return { stdout: out, stderr: err }
}

async function readTail(path: string): Promise<string> {
  const size = await sizeOf(path)
  const from = Math.max(0, size - excerptBytes)
  const lines = plainText(await readFrom(path, from, excerptBytes)).split('\n')
  if (from > 0) lines.shift() // cut somewhere in its middle
  return lines
    .filter((line) => line.trim() !== '')
    .slice(-excerptLines)
    .join('\n')
}

const outputBytesMax = 16_777_216
const outputBytesKept = 1_048_576

/**
 * Keeps a child that talks for weeks from filling the disk: of a file beyond 16 MiB the last MiB stays. The child goes on
 * writing meanwhile; a line that it writes in the instant of the cut can be lost.
 */
export async function trimOutput(record: string): Promise<void> {
  for (const path of Object.values(outputPaths(record))) {
    const size = await sizeOf(path)
    if (size <= outputBytesMax) continue
    const kept = await readFrom(path, size - outputBytesKept, outputBytesKept)
    await truncate(path)
    await appendFile(path, kept)
  }
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0, // removed, or never made
  )
}

async function readFrom(path: string, offset: number, bytesMax: number): Promise<Buffer> {
  const file = await open(path, 'r').catch(() => undefined) // removed, or never made
  if (file === undefined) return Buffer.alloc(0)
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(bytesMax), 0, bytesMax, offset)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

function plainText(bytes: Buffer): string {
  return stripVTControlCharacters(bytes.toString('utf8').replaceAll('\r\n', '\n')).replace(/(?![\n\t])\p{Cc}/gu, '')
}

// Best evidence first. An uncaught error stands at the beginning of its line; what is indented is its stack or cause.
const reasons = [/^(Uncaught )?\w*(Error|Exception)\b[^:]{0,60}: /, /\bE[A-Z]{4,}\b/, /^(fatal|error)\b/i]

/** Picks the line that says why a program ended: the last that names an error, else the last. Empty for no output. */
export function reasonIn(output: { readonly stdout: string; readonly stderr: string }): string {
  const lines = [output.stdout, output.stderr].flatMap((text) => text.split('\n'))
  const said = lines.filter((line) => line.trim() !== '' && !/^Node\.js v\d/.test(line))
  const found = reasons.map((pattern) => said.findLast((line) => pattern.test(line))).find((line) => line !== undefined)
  return (found ?? said.at(-1) ?? '').trim()
}

const lineBytesMax = 65_536

/** Reads the complete lines of a growing file, each once, from its beginning; again from there after it was trimmed. */
export class LineReader {
  private offset = 0
  private rest = Buffer.alloc(0)

  constructor(private readonly path: string) {}

  async read(): Promise<string[]> {
    const lines: string[] = []
    if ((await sizeOf(this.path)) < this.offset) this.offset = 0
    for (;;) {
      const bytes = await readFrom(this.path, this.offset, lineBytesMax)
      if (bytes.length === 0) return lines
      this.offset += bytes.length
      const text = Buffer.concat([this.rest, bytes])
      const end = text.lastIndexOf(10) + 1
      if (end > 0) lines.push(...plainText(text.subarray(0, end)).split('\n').slice(0, -1))
      // A "line" beyond the cap is no announcement; its beginning is forgotten.
      this.rest = Buffer.from(text.subarray(end).subarray(-lineBytesMax))
    }
  }
}
