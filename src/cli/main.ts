#!/usr/bin/env node
import { CommanderError } from 'commander'
import { held } from '../held.ts'
import type { Cli, Command } from './cli.ts'
import type { Globals } from './output.ts'
import { buildProgram } from './program.ts'

const signalNumbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const
type StopSignal = keyof typeof signalNumbers

/** The first signal asks; a second one does not wait for the answer. */
function listenForSignals(abort: AbortController): () => StopSignal | undefined {
  let first: StopSignal | undefined
  for (const name of Object.keys(signalNumbers) as StopSignal[])
    process.on(name, () => {
      if (first !== undefined) process.exit(128 + signalNumbers[name])
      first = name
      void import('../errors.ts').then(({ InstarError }) => abort.abort(new InstarError('ABORTED', 'interrupted')))
    })
  return () => first
}

async function main(argv: readonly string[]): Promise<number> {
  const abort = new AbortController()
  const stopSignal = listenForSignals(abort)
  let code = 0
  const run =
    <Arguments extends readonly unknown[]>(load: () => Promise<Command<Arguments>>) =>
    async (globals: Globals, ...args: Arguments) => {
      const { Output } = await import('./output.ts')
      const cli: Cli = { globals, output: new Output(globals), signal: abort.signal }
      try {
        const command = await load()
        code = await command(cli, ...args)
      } catch (error) {
        code = await report(cli, error)
      }
      const signal = stopSignal()
      // Asked to stop by SIGTERM and having done so in good order is success; Ctrl-C is told apart in either case.
      if (signal !== undefined && (code !== 0 || signal === 'SIGINT')) code = 128 + signalNumbers[signal]
    }
  const program = buildProgram(run)
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return 0
    if (error.code === 'commander.help') return 2 // it has been shown, because a command was missing
    return reportUsage(argv, error)
  }
  return code
}

async function report({ output }: Cli, error: unknown): Promise<number> {
  const { InstarError } = await import('../errors.ts')
  output.error(error)
  return error instanceof InstarError ? error.exitCode : 1
}

async function reportUsage(argv: readonly string[], error: CommanderError): Promise<number> {
  const [{ Output }, { InstarError }] = await Promise.all([import('./output.ts'), import('../errors.ts')])
  // Parsing has failed, so the options have to be looked for by hand.
  const options = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv
  const output = new Output({ json: options.includes('--json'), color: !options.includes('--no-color') })
  const [said = '', ...near] = error.message.replace(/^error: /, '').split('\n')
  const meant = near.join(' ').replace(/^\(|\)$/g, '')
  output.error(new InstarError('USAGE', said, meant === '' ? {} : { hint: meant }))
  return 2
}

process.exitCode = await held(main(process.argv.slice(2)))
