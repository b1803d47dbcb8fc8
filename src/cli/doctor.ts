import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Config, RuntimeConfig } from '../config.ts'
import { exists } from '../disk.ts'
import { errorRecord, InstarError } from '../errors.ts'
import { type HomeCondition, inspectHome } from '../home.ts'
import type { DaemonStatus } from '../managed-daemon.ts'
import { printable } from '../printable.ts'
import { type Cli, type Command, configFile, configOf, exit, homeOf } from './cli.ts'
import { reachRunning } from './reach.ts'
import { bytesText } from './text.ts'

/** One thing that was looked at. `remedy` is what to type or to do. */
interface Finding {
  readonly about: string
  readonly verdict: 'good' | 'warning' | 'bad'
  readonly message: string
  readonly remedy?: string
}

const registryMs = 10_000
const bytesWanted = 500_000_000
const bytesNeeded = 50_000_000

/** Looks at everything that a controller will need and says what is wrong. Changes nothing; exit 1 where something is bad. */
export const doctor: Command<[]> = async (cli) => {
  const home = await homeOf(cli)
  const condition = await inspectHome(home)
  const [config, configFindings] = await examineConfig(cli)
  const findings = [
    examineNode(),
    ...examineHome(condition),
    ...(await examineSpace(home)),
    ...(await examineController(cli, home)),
    ...(await examineJournal(condition)),
    ...configFindings,
    ...(await examineRuntimes(cli, config, condition)),
    ...(await examineSessions(cli, config, condition)),
    ...(await examineTargets(config, condition)),
  ]
  const isBad = findings.some(({ verdict }) => verdict === 'bad')
  await cli.output.document({ sound: !isBad, findings }, () => findings.map(findingText).join(''))
  return isBad ? exit.failed : exit.done
}

const marks = { good: 'ok     ', warning: 'warning', bad: 'BAD    ' } as const

function findingText({ about, verdict, message, remedy }: Finding): string {
  const text = `${marks[verdict]}  ${about}: ${message}`
  return `${printable(remedy === undefined ? text : `${text}\n         -> ${remedy}`)}\n`
}

const good = (about: string, message: string): Finding => ({ about, verdict: 'good', message })

function bad(about: string, error: unknown): Finding {
  const { message, hint } = errorRecord(error)
  return { about, verdict: 'bad', message, ...(hint && { remedy: hint }) }
}

function examineNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 9) || major >= 23
  if (fits) return good('node', `${process.version} at ${process.execPath}`)
  const message = `${process.version} is not supported`
  return { about: 'node', verdict: 'bad', message, remedy: 'Use Node 20.19, or 22.9 or newer.' }
}

function examineHome(condition: HomeCondition): Finding[] {
  const { state, path } = condition
  if (state === 'refused') return [bad('home', condition.error)]
  if (state === 'missing') return [good('home', `${path} will be created`)]
  const isOpen = process.platform !== 'win32' && (condition.mode & 0o077) !== 0
  if (!isOpen) return [good('home', path)]
  return [
    {
      about: 'home',
      verdict: 'warning',
      message: `other users may look into ${path}; the next controller closes it`,
      remedy: `chmod 700 ${path}`,
    },
  ]
}

async function examineSpace(home: string): Promise<Finding[]> {
  let at = home
  while (!(await exists(at).catch(() => false)) && dirname(at) !== at) at = dirname(at)
  const { bavail, bsize } = await statfs(at)
  const free = bavail * bsize
  if (free >= bytesWanted) return [good('space', `${bytesText(free)} free`)]
  const verdict = free < bytesNeeded ? 'bad' : 'warning'
  return [{ about: 'space', verdict, message: `${bytesText(free)} free at ${at}`, remedy: 'Free some space.' }]
}

async function examineController(cli: Cli, home: string): Promise<Finding[]> {
  try {
    const client = await reachRunning(cli, home)
    if (client === undefined)
      return [{ about: 'controller', verdict: 'warning', message: 'none runs', remedy: 'instar up' }]
    await client.close()
    const { version, pid } = client.controller
    return [good('controller', `${version} runs, pid ${pid}`)]
  } catch (error) {
    return [bad('controller', error)]
  }
}

async function examineJournal(condition: HomeCondition): Promise<Finding[]> {
  if (condition.state !== 'ours') return []
  const directory = join(condition.path, 'journal')
  if (!(await exists(directory))) return []
  const { verifyJournal } = await import('../journal/verify.ts')
  try {
    const { sound, records, problems } = await verifyJournal(directory)
    if (sound) return [good('journal', `${records} records, sound`)]
    const [first] = problems
    return [
      {
        about: 'journal',
        verdict: 'bad',
        message: `damaged: ${first?.file}: ${first?.message}`,
        remedy: 'instar journal verify; then instar journal repair',
      },
    ]
  } catch (error) {
    return [bad('journal', error)]
  }
}

async function examineConfig(cli: Cli): Promise<[Config | undefined, Finding[]]> {
  try {
    const config = await configOf(cli)
    const file = await configFile(cli)
    const count = Object.keys(config.runtimes).length
    if (count > 0) return [config, [good('configuration', `${file}, ${count} runtime${count === 1 ? '' : 's'}`)]]
    const message = file === undefined ? 'there is none' : `${file} names no runtime`
    const remedy = 'Describe a runtime in instar.config.json, or name the file with --config.'
    return [config, [{ about: 'configuration', verdict: 'warning', message, remedy }]]
  } catch (error) {
    return [undefined, [bad('configuration', error)]]
  }
}

async function examineRuntimes(cli: Cli, config: Config | undefined, condition: HomeCondition): Promise<Finding[]> {
  if (config === undefined) return []
  const found = await Promise.all(
    Object.entries(config.runtimes).map(async ([name, runtime]) => [
      ...(await examineExecutable(name, runtime)),
      ...(await examineBundled(name, runtime)),
      ...(await examineProvided(name, runtime)),
      ...examineProbe(name, runtime),
      ...(await examinePointer(name, condition)),
      ...(await examineRegistry(cli, name, runtime, config.registry)),
    ]),
  )
  return found.flat()
}

async function examineExecutable(name: string, { node }: RuntimeConfig): Promise<Finding[]> {
  if (node === undefined) return []
  const about = `${name}, node`
  try {
    const { stdout } = await promisify(execFile)(node, ['--version'], { timeout: 5000 })
    return [good(about, `${node} is ${stdout.trim()}`)]
  } catch (cause) {
    const error = new InstarError('CONFIG_INVALID', `${node} does not run`, {
      cause,
      hint: `Correct runtimes.${name}.node in the configuration.`,
    })
    return [bad(about, error)]
  }
}

async function examineBundled(name: string, { bundled, entry }: RuntimeConfig): Promise<Finding[]> {
  const about = `${name}, bundled`
  if (bundled === undefined) {
    const message = 'there is none, so there is nothing to fall back to when no release works'
    return [{ about, verdict: 'warning', message, remedy: `Name one in runtimes.${name}.bundled.` }]
  }
  const file = join(bundled.path, entry)
  const isThere = await access(file, constants.R_OK).then(
    () => true,
    () => false,
  )
  if (isThere) return [good(about, `${bundled.version} at ${bundled.path}`)]
  const remedy = `Correct runtimes.${name}.bundled.path or .entry.`
  return [{ about, verdict: 'bad', message: `${file} cannot be read`, remedy }]
}

async function examineProvided(name: string, { provide }: RuntimeConfig): Promise<Finding[]> {
  const findings = Object.entries(provide).map(async ([dependency, path]): Promise<Finding> => {
    const about = `${name}, ${dependency}`
    if (await exists(join(path, 'package.json')).catch(() => false)) return good(about, path)
    const remedy = `Install it, or correct runtimes.${name}.provide.`
    return { about, verdict: 'bad', message: `there is no package at ${path}`, remedy }
  })
  return Promise.all(findings)
}

function examineProbe(name: string, { probe }: RuntimeConfig): Finding[] {
  const { tcp, http, contains, headers } = probe
  const asksPort = tcp !== undefined || http !== undefined
  if (!asksPort || contains !== undefined || headers !== undefined) return []
  const message = 'another program that answers on the port could be taken for this runtime'
  const remedy = `Say what only it answers: runtimes.${name}.probe.contains.`
  return [{ about: `${name}, probe`, verdict: 'warning', message, remedy }]
}

async function examinePointer(name: string, condition: HomeCondition): Promise<Finding[]> {
  if (condition.state !== 'ours') return []
  const { readPointer } = await import('../releases/pointer.ts')
  const { current, problem } = await readPointer(condition.path, 'runtime', name)
  const about = `${name}, staged`
  if (problem !== undefined)
    return [{ about, verdict: 'warning', message: problem.reason, remedy: `instar runtime check ${name}` }]
  return current === null ? [] : [good(about, current.version)]
}

async function examineRegistry(
  { signal }: Cli,
  name: string,
  { package: wanted, channel }: RuntimeConfig,
  registry: string | undefined,
): Promise<Finding[]> {
  const about = `${name}, registry`
  const { resolve } = await import('../packages/resolve.ts')
  try {
    const answer = await resolve({
      package: wanted,
      channel,
      signal: AbortSignal.any([signal, AbortSignal.timeout(registryMs)]),
      ...(registry !== undefined && { registry }),
    })
    return [good(about, 'version' in answer ? `offers ${wanted} ${answer.version}` : 'answers')]
  } catch (error) {
    signal.throwIfAborted()
    return [bad(about, error)]
  }
}

async function examineSessions(cli: Cli, config: Config | undefined, condition: HomeCondition): Promise<Finding[]> {
  const found = [await examineTerminals(), await examineKeeper(), await examineDescriptorCalls()]
  if (config === undefined || condition.state !== 'ours') return found
  const [{ daemonStatus }, { packageVersion: version }] = await Promise.all([
    import('../managed-daemon.ts'),
    import('../package-info.ts'),
  ])
  const names = config.sessions.daemons
  const world = { home: condition.path, version }
  const statuses = await Promise.all(names.map((name) => daemonStatus(world, name, cli.signal)))
  return [...found, ...statuses.flatMap(examineDaemon)]
}

async function examineTerminals(): Promise<Finding> {
  const { loadNativePty } = await import('../sessions/native-pty.ts')
  try {
    loadNativePty()
    return good('sessions', 'node-pty loads')
  } catch (error) {
    const { message, hint } = errorRecord(error)
    // Whoever has no sessions does not need it.
    return { about: 'sessions', verdict: 'warning', message, ...(hint && { remedy: hint }) }
  }
}

async function examineKeeper(): Promise<Finding> {
  const { findKeeper } = await import('../sessions/keeper.ts')
  const { path, reason } = findKeeper()
  if (reason === null) return good('keeper', path)
  const message = `there is none, so sessions survive every update of their daemon, but not its crash. ${reason}`
  return { about: 'keeper', verdict: 'warning', message }
}

async function examineDescriptorCalls(): Promise<Finding> {
  const { findDescriptorCalls } = await import('../sessions/descriptor-calls.ts')
  const { path, reason } = findDescriptorCalls()
  if (reason === null) return good('descriptors', path)
  const message = `there is no addon for them, so the modes of its files alone say who may speak to a daemon. ${reason}`
  return { about: 'descriptors', verdict: 'warning', message }
}

function examineDaemon({ name, state, running, wanted, failure }: DaemonStatus): Finding[] {
  const about = `daemon ${name}`
  if (state === 'unclear') return [{ about, verdict: 'bad', message: failure!.message, remedy: failure?.hint ?? '' }]
  if (running === null) return []
  const { version, pid, standing, keeper } = running
  if (standing === 'older') {
    const message = `${version} runs, pid ${pid}; this is ${wanted}`
    return [{ about, verdict: 'warning', message, remedy: `instar daemon update ${name}` }]
  }
  if (keeper === null) {
    const message = `${version} runs, pid ${pid}, without a keeper: its sessions end with it`
    return [{ about, verdict: 'warning', message, remedy: `instar daemon restart ${name}, once there is a keeper` }]
  }
  return [good(about, `${version} runs, pid ${pid}, keeper ${keeper.pid}`)]
}

/** Looks at each place as an install would, before it sends anything there. */
async function examineTargets(config: Config | undefined, condition: HomeCondition): Promise<Finding[]> {
  const named = Object.entries(config?.plugins.targets ?? {})
  if (named.length === 0 || condition.state !== 'ours') return []
  const { Targets } = await import('../plugins/targets.ts')
  const targets = await Targets.of(condition.path, Object.fromEntries(named)).catch((error: unknown) => error)
  if (!(targets instanceof Targets)) return [bad('targets', targets)]
  const examined = named.map(async ([name, address]): Promise<Finding> => {
    try {
      await targets.at(targets.address(name)).shelf('instar')
      return good(`target ${name}`, address)
    } catch (error) {
      return bad(`target ${name}`, error)
    }
  })
  try {
    return await Promise.all(examined)
  } finally {
    await targets.close()
  }
}
