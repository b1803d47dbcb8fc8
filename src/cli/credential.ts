import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { InstarError } from '../errors.ts'
import { abortable } from '../runtime/pause.ts'
import { type Cli, type Command, exit } from './cli.ts'
import { reachController, reachObserver } from './reach.ts'
import { table } from './text.ts'
import { tokenOf } from './token.ts'

interface SetOptions {
  readonly workspace: string
  readonly fromFile?: string
  readonly note?: string
}

/** More than a secret may have, so that a wrong file is not read to its end. */
const inputBytesMax = 262_144

export const set: Command<[name: string, options: SetOptions]> = async (cli, name, { fromFile, ...about }) => {
  const secret = await secretFrom(cli, fromFile)
  await using controller = await reachController(cli)
  const result = await controller.perform('credential.set', { name, secret, ...about, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${name} is kept for ${about.workspace}\n`)
  return exit.done
}

export const list: Command<[options: { readonly workspace?: string }]> = async (cli, options) => {
  await using controller = await reachObserver(cli)
  const { credentials } = await controller.perform('credential.list', { ...options, ...(await tokenOf(cli)) }, cli)
  await cli.output.document({ credentials }, () =>
    credentials.length === 0
      ? 'There is no credential.\n'
      : table(
          ['WORKSPACE', 'CREDENTIAL', 'SET', 'NOTE'],
          credentials.map(({ workspace, credential, setAt, note }) => [workspace, credential, setAt, note]),
        ),
  )
  return exit.done
}

export const remove: Command<[name: string, options: { readonly workspace: string }]> = async (
  cli,
  name,
  { workspace },
) => {
  await using controller = await reachController(cli)
  const result = await controller.perform('credential.remove', { name, workspace, ...(await tokenOf(cli)) }, cli)
  await cli.output.result(result, () => `${name} is forgotten for ${workspace}\n`)
  return exit.done
}

/**
 * The secret, without the line break that ends it. Never from an argument, which everybody on the machine can read.
 *
 * @throws {InstarError} `USAGE` where there is none, or what is there is no text.
 */
async function secretFrom(cli: Cli, file: string | undefined): Promise<string> {
  if (file === undefined && process.stdin.isTTY) return assertSome(await typed(cli))
  const bytes = file === undefined ? await limited(process.stdin) : await read(file)
  try {
    return assertSome(new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r?\n$/, ''))
  } catch (error) {
    if (error instanceof InstarError) throw error
    throw new InstarError('USAGE', 'the secret is not UTF-8 text')
  }
}

function assertSome(secret: string): string {
  if (secret !== '') return secret
  throw new InstarError('USAGE', 'there is no secret', { hint: 'Give it on standard input, or by --from-file.' })
}

async function read(file: string): Promise<Buffer> {
  try {
    await using handle = await open(file)
    return await limited(handle.createReadStream({ autoClose: false }))
  } catch (cause) {
    if (cause instanceof InstarError) throw cause
    throw new InstarError('USAGE', `the file ${file} cannot be read`, { cause })
  }
}

async function limited(input: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of input) {
    chunks.push(chunk)
    size += chunk.length
    if (size > inputBytesMax) throw new InstarError('USAGE', `a secret has at most ${inputBytesMax} bytes`)
  }
  return Buffer.concat(chunks)
}

/** What a person types, which is not shown. */
async function typed({ signal }: Cli): Promise<string> {
  const unseen = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: unseen, terminal: true })
  // A terminal in this mode sends no signal of its own.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  process.stderr.write('secret (it is not shown): ')
  try {
    return await abortable(
      new Promise<string>((resolve) => lines.once('close', () => resolve('')).question('', resolve)),
      signal,
    )
  } finally {
    lines.close()
    process.stderr.write('\n')
  }
}
