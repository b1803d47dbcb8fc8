import { Argument, Command as Commander, InvalidArgumentError, Option } from 'commander'
import { packageVersion } from '../package-info.ts'
import type { Size } from '../sessions/protocol.ts'
import type { Command } from './cli.ts'
import type { Globals } from './output.ts'

/** Runs one command once its file is loaded; nothing is loaded for the commands that are not asked for. */
export type Run = <Arguments extends readonly unknown[]>(
  load: () => Promise<Command<Arguments>>,
) => (globals: Globals, ...args: Arguments) => Promise<void>

/** The whole command line, as a tree. Help, suggestions and shell completion are made of it. */
export function buildProgram(run: Run): Commander {
  const program = new Commander('instar')
    .description('Replaces the long-lived parts of a host application while it runs.')
    .version(packageVersion, '-V, --version')
    .option('--home <dir>', "where everything lives (INSTAR_HOME, else the platform's data directory)")
    .option('--config <file>', 'the configuration (instar.config.json in this folder where absent)')
    .option('--token-file <file>', 'the token to show, for apps and workspaces (INSTAR_TOKEN where absent)')
    .option('--json', 'print one JSON document, or one JSON line for each step of a long operation')
    .addOption(new Option('-q, --quiet', 'say nothing but results and errors').conflicts('verbose'))
    .option('-v, --verbose', 'say more about what is done')
    .option('--no-color', 'use no colours')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: () => {} }) // main says it, in the form that was asked for
    .exitOverride()
    .showSuggestionAfterError()
  addOverview(program, run)
  addRuntime(area(program, 'runtime', 'the runtimes of the configuration'), run)
  addDaemon(area(program, 'daemon', 'the processes that hold the sessions'), run)
  addSession(area(program, 'session', 'terminals that survive the replacement of their daemon'), run)
  addPlugin(area(program, 'plugin', 'plugins, installed as one or not at all'), run)
  addWorkspace(area(program, 'workspace', 'where an organisation uses its apps'), run)
  addApp(area(program, 'app', 'apps, in one version for the whole organisation'), run)
  addAccess(area(program, 'access', 'who may do what with the apps of an organisation'), run)
  addCredential(area(program, 'credential', 'the secrets that apps are given'), run)
  addMcp(program, run)
  addJournal(area(program, 'journal', 'what happened, and what is in progress'), run)
  addMachine(area(program, 'machine', 'the statecharts'), run)
  return program
}

function area(program: Commander, name: string, description: string): Commander {
  return program.command(name).description(description)
}

const globalsOf = (command: Commander) => command.optsWithGlobals<Globals>()

function addOverview(program: Commander, run: Run): void {
  const up = run(async () => (await import('./up.ts')).up)
  program
    .command('up')
    .description('run the controller in the foreground: check, launch and watch every runtime until Ctrl-C')
    .option(
      '--port <port>',
      'where HTTP is served on loopback (`console.port` where absent; 0: any that is free)',
      port,
    )
    .action((options, command) => up(globalsOf(command), options))

  const status = run(async () => (await import('./status.ts')).status)
  program
    .command('status')
    .description('everything at a glance; exit 3 where no controller runs')
    .action((_, command) => status(globalsOf(command)))

  const doctor = run(async () => (await import('./doctor.ts')).doctor)
  program
    .command('doctor')
    .description('what is wrong, and what to type')
    .action((_, command) => doctor(globalsOf(command)))

  const completion = run(async () => (await import('./completion.ts')).completion)
  program
    .command('completion')
    .description('print a completion script: source <(instar completion bash)')
    .addArgument(program.createArgument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .action((shell, _, command) => completion(globalsOf(command), shell, program))
}

function addRuntime(runtime: Commander, run: Run): void {
  const list = run(async () => (await import('./runtime.ts')).list)
  runtime
    .command('list')
    .description('every runtime, and which version is in use')
    .action((_, command) => list(globalsOf(command)))

  const status = run(async () => (await import('./runtime.ts')).status)
  runtime
    .command('status <name>')
    .description('one runtime: versions, bans, processes')
    .action((name, _, command) => status(globalsOf(command), name))

  const check = run(async () => (await import('./runtime.ts')).check)
  runtime
    .command('check <name>')
    .description('look for a newer version, prove it and stage it for the next launch')
    .option('--allow-older', 'take what the channel names also below what was in use before')
    .action((name, options, command) => check(globalsOf(command), name, options))

  const launch = run(async () => (await import('./runtime.ts')).launch)
  runtime
    .command('launch <name> [args...]')
    .usage('[options] <name> [-- args...]')
    .description('start the best version there is; what follows -- is passed on')
    .action((name, args, _, command) => launch(globalsOf(command), name, args))

  const stop = run(async () => (await import('./runtime.ts')).stop)
  runtime
    .command('stop <name>')
    .description('end what launch started')
    .action((name, _, command) => stop(globalsOf(command), name))

  const rollback = run(async () => (await import('./runtime.ts')).rollback)
  runtime
    .command('rollback <name>')
    .description('point the next launch at the version before')
    .action((name, _, command) => rollback(globalsOf(command), name))

  const ban = run(async () => (await import('./runtime.ts')).ban)
  runtime
    .command('ban <name> <version>')
    .description('never use this version')
    .option('--reason <text>', 'why, for those who read it later')
    .action((name, version, { reason }, command) => ban(globalsOf(command), name, version, reason))

  const unban = run(async () => (await import('./runtime.ts')).unban)
  runtime
    .command('unban <name> <version>')
    .description('allow this version again')
    .action((name, version, _, command) => unban(globalsOf(command), name, version))

  const prune = run(async () => (await import('./runtime.ts')).prune)
  runtime
    .command('prune <name>')
    .description('remove releases that nothing needs any more')
    .action((name, _, command) => prune(globalsOf(command), name))
}

function addDaemon(daemon: Commander, run: Run): void {
  const nameArgument = () =>
    daemon.createArgument('[name]', 'the daemon; the first of the configuration where absent').argParser(daemonName)
  const yesOption = () => new Option('-y, --yes', 'do not ask')

  const status = run(async () => (await import('./daemon.ts')).status)
  daemon
    .command('status')
    .addArgument(nameArgument())
    .description('what runs, and how it stands to this version; exit 3 where none runs')
    .action((name, _, command) => status(globalsOf(command), name))

  const start = run(async () => (await import('./daemon.ts')).start)
  daemon
    .command('start')
    .addArgument(nameArgument())
    .description('see that one runs')
    .action((name, _, command) => start(globalsOf(command), name))

  const update = run(async () => (await import('./daemon.ts')).update)
  daemon
    .command('update')
    .addArgument(nameArgument())
    .description('replace it by this version while its sessions go on; exit 5 where the old one stays')
    .action((name, _, command) => update(globalsOf(command), name))

  const restart = run(async () => (await import('./daemon.ts')).restart)
  daemon
    .command('restart')
    .addArgument(nameArgument())
    .description('end its sessions and start it anew')
    .addOption(yesOption())
    .action((name, options, command) => restart(globalsOf(command), name, options))

  const stop = run(async () => (await import('./daemon.ts')).stop)
  daemon
    .command('stop')
    .addArgument(nameArgument())
    .description('end its sessions and the daemon')
    .addOption(yesOption())
    .action((name, options, command) => stop(globalsOf(command), name, options))
}

function addSession(session: Commander, run: Run): void {
  const daemonOption = () =>
    new Option('--daemon <name>', 'the daemon that holds it; the first of the configuration where absent').argParser(
      daemonName,
    )
  const detachOption = () =>
    new Option('--detach-key <key>', 'the key that leaves it alone, such as ctrl-q; none for no key').default('ctrl-]')

  const open = run(async () => (await import('./session.ts')).open)
  session
    .command('open [command...]')
    .usage('[options] [-- command...]')
    .description('begin a session and print its id; starts the daemon where none runs')
    .option('--id <id>', 'what it is called; chosen where absent')
    .option('--cwd <dir>', 'where it begins; this folder where absent')
    .option('--size <columns>x<rows>', "of its terminal; this terminal's where absent", size)
    .option('--attach', 'attach to it at once')
    .addOption(detachOption())
    .addOption(daemonOption())
    .action((words, options, command) => open(globalsOf(command), words, options))

  const list = run(async () => (await import('./session.ts')).list)
  session
    .command('list')
    .description('every session of a daemon')
    .addOption(daemonOption())
    .action((options, command) => list(globalsOf(command), options))

  const attach = run(async () => (await import('./session.ts')).attach)
  session
    .command('attach <id>')
    .description("lend this terminal to a session; exits with the session's code, or with 0 when detached by Ctrl-]")
    .addOption(detachOption())
    .addOption(daemonOption())
    .action((id, options, command) => attach(globalsOf(command), id, options))

  const send = run(async () => (await import('./session.ts')).send)
  session
    .command('send <id> <text>')
    .description('type into a session; - for what comes on standard input')
    .option('--enter', 'press Return after it')
    .addOption(daemonOption())
    .action((id, text, options, command) => send(globalsOf(command), id, text, options))

  const read = run(async () => (await import('./session.ts')).read)
  session
    .command('read <id>')
    .description('print what it has printed, byte for byte, as far as it is kept')
    .option('--from <offset>', 'begin with this byte', offset)
    .addOption(daemonOption())
    .action((id, options, command) => read(globalsOf(command), id, options))

  const screen = run(async () => (await import('./session.ts')).screen)
  session
    .command('screen <id>')
    .description('print what its terminal shows now, as text')
    .addOption(daemonOption())
    .action((id, options, command) => screen(globalsOf(command), id, options))

  const resize = run(async () => (await import('./session.ts')).resize)
  session
    .command('resize')
    .argument('<id>')
    .argument('<size>', 'such as 120x40', size)
    .description('give its terminal another size')
    .addOption(daemonOption())
    .action((id, size, options, command) => resize(globalsOf(command), id, size, options))

  const kill = run(async () => (await import('./session.ts')).kill)
  session
    .command('kill <id>')
    .description('hang it up, and kill what does not mind that; or only send a signal')
    .option('--signal <signal>', 'to what runs in its foreground, such as INT', signalName)
    .addOption(daemonOption())
    .action((id, options, command) => kill(globalsOf(command), id, options))

  const wait = run(async () => (await import('./session.ts')).wait)
  session
    .command('wait <id>')
    .description('wait for its end, and exit with its code (128 and the number of the signal that ended it)')
    .addOption(daemonOption())
    .action((id, options, command) => wait(globalsOf(command), id, options))
}

function addPlugin(plugin: Commander, run: Run): void {
  const targetOption = () =>
    new Option('--target <target>', 'local, a name from the configuration, ssh://… or exec:…').default('local')

  const install = run(async () => (await import('./plugin.ts')).install)
  plugin
    .command('install <spec...>')
    .description('install NAME, NAME@RANGE, a folder or a .tgz file; exit 5 where one keeps its old version')
    .addOption(targetOption())
    .option('--all-or-nothing', 'they belong together: all of them, or none')
    .action((specs, options, command) => install(globalsOf(command), specs, options))

  const list = run(async () => (await import('./plugin.ts')).list)
  plugin
    .command('list')
    .description('what is installed')
    .addOption(targetOption())
    .action((options, command) => list(globalsOf(command), options))

  const verify = run(async () => (await import('./plugin.ts')).verify)
  plugin
    .command('verify [name]')
    .description('compare what is live with its seal, byte for byte')
    .addOption(targetOption())
    .action((name, options, command) => verify(globalsOf(command), name, options))

  const rollback = run(async () => (await import('./plugin.ts')).rollback)
  plugin
    .command('rollback <name>')
    .description('make the version live again that was live before')
    .addOption(targetOption())
    .action((name, options, command) => rollback(globalsOf(command), name, options))

  const remove = run(async () => (await import('./plugin.ts')).remove)
  plugin
    .command('remove <name>')
    .description('take it away, and every version that is kept')
    .addOption(targetOption())
    .action((name, options, command) => remove(globalsOf(command), name, options))

  const sweep = run(async () => (await import('./plugin.ts')).sweep)
  plugin
    .command('sweep')
    .description('remove what interrupted installs have left')
    .addOption(targetOption())
    .action((options, command) => sweep(globalsOf(command), options))

  const check = run(async () => (await import('./plugin.ts')).check)
  plugin
    .command('check')
    .description('what is subscribed to and is not live; exit 5 where something is behind')
    .option('--apply', 'install what is behind')
    .action((options, command) => check(globalsOf(command), options))
}

function addWorkspace(workspace: Commander, run: Run): void {
  const add = run(async () => (await import('./workspace.ts')).add)
  workspace
    .command('add')
    .description('add a workspace')
    .argument('<id>')
    .action((id, _, command) => add(globalsOf(command), id))

  const list = run(async () => (await import('./workspace.ts')).list)
  workspace
    .command('list')
    .description('the workspaces, and their apps')
    .action((_, command) => list(globalsOf(command)))

  const remove = run(async () => (await import('./workspace.ts')).remove)
  workspace
    .command('remove')
    .description('end its apps and forget it; what they kept there stays')
    .argument('<id>')
    .action((id, _, command) => remove(globalsOf(command), id))
}

function addApp(app: Commander, run: Run): void {
  const inWorkspace = () => new Option('--workspace <id>', 'the workspace').makeOptionMandatory()

  const install = run(async () => (await import('./app.ts')).install)
  app
    .command('install')
    .description("give a workspace an app, in the organisation's version where it has one")
    .argument('<spec>', 'NAME, NAME@RANGE, or the path of a folder, a .tgz file or an .mcpb bundle')
    .argument('[args...]', 'arguments for the app, behind `--`')
    .addOption(inWorkspace())
    .option('--env <name=value...>', 'in the environment of the app, always')
    .option('--credential <name=secret...>', 'in its environment, too: the secret that is kept under this name')
    .option('--set <key=value...>', 'a setting of the app; several times for one that takes several values')
    .action((spec, args, options, command) => install(globalsOf(command), spec, args, options))

  const configure = run(async () => (await import('./app.ts')).configure)
  app
    .command('configure')
    .description('have an app run otherwise in a workspace; what is not given stays, and no call is lost')
    .argument('<name>')
    .argument('[args...]', 'arguments for the app, behind `--`')
    .addOption(inWorkspace())
    .option('--env <name=value...>', 'in the environment of the app, instead of what was there')
    .option('--credential <name=secret...>', 'the same for secrets')
    .option('--set <key=value...>', 'the same for settings of the app')
    .action((name, args, options, command) => configure(globalsOf(command), name, args, options))

  const restart = run(async () => (await import('./app.ts')).restart)
  app
    .command('restart')
    .description('replace the process of an app by one of the same version')
    .argument('<name>')
    .addOption(inWorkspace())
    .action((name, options, command) => restart(globalsOf(command), name, options))

  const list = run(async () => (await import('./app.ts')).list)
  app
    .command('list')
    .description('the apps, and what runs where')
    .action((_, command) => list(globalsOf(command)))

  const check = run(async () => (await import('./app.ts')).check)
  app
    .command('check')
    .description('what the registry offers')
    .argument('[name]')
    .action((name, _, command) => check(globalsOf(command), name))

  const upgrade = run(async () => (await import('./app.ts')).upgrade)
  app
    .command('upgrade')
    .description('raise the version for the organisation, in every workspace; no call is lost')
    .argument('<name>')
    .option('--to <version>', 'a dist-tag, range, exact version or path; `latest` where absent')
    .option('--no-wait', 'answer at once; the controller that runs goes on with it')
    .action((name, options, command) => upgrade(globalsOf(command), name, options))

  const rollback = run(async () => (await import('./app.ts')).rollback)
  app
    .command('rollback')
    .description('the version that the organisation had before')
    .argument('<name>')
    .action((name, _, command) => rollback(globalsOf(command), name))

  const pin = run(async () => (await import('./app.ts')).pin)
  app
    .command('pin')
    .description('have an app stay at the version that the organisation has')
    .argument('<name>')
    .option('--note <text>', 'why, for whoever wonders')
    .action((name, options, command) => pin(globalsOf(command), name, options))

  const unpin = run(async () => (await import('./app.ts')).unpin)
  app
    .command('unpin')
    .description('let it be raised again')
    .argument('<name>')
    .action((name, _, command) => unpin(globalsOf(command), name))

  const remove = run(async () => (await import('./app.ts')).remove)
  app
    .command('remove')
    .description('take an app from a workspace; what it kept there stays')
    .argument('<name>')
    .addOption(inWorkspace())
    .action((name, options, command) => remove(globalsOf(command), name, options))

  const call = run(async () => (await import('./app.ts')).call)
  app
    .command('call')
    .description('call a tool of an app')
    .argument('<workspace>')
    .argument('<app>')
    .argument('<tool>')
    .argument('[json]', 'its arguments: one JSON object')
    .action((workspace, name, tool, json, _, command) => call(globalsOf(command), workspace, name, tool, json))

  const logs = run(async () => (await import('./app.ts')).logs)
  app
    .command('logs')
    .description('the last lines that an app has printed beside its messages')
    .argument('<workspace>')
    .argument('<app>')
    .action((workspace, name, _, command) => logs(globalsOf(command), workspace, name))
}

function addAccess(access: Commander, run: Run): void {
  const add = run(async () => (await import('./access.ts')).add)
  access
    .command('add')
    .description('make a token, and print it; it is told only once')
    .addArgument(new Argument('<role>').choices(['org_admin', 'workspace_admin', 'member']))
    .option('--workspace <id>', 'for this workspace only')
    .option('--note <text>', 'whose it is')
    .action((role, options, command) => add(globalsOf(command), role, options))

  const list = run(async () => (await import('./access.ts')).list)
  access
    .command('list')
    .description('the tokens, without their secrets')
    .action((_, command) => list(globalsOf(command)))

  const remove = run(async () => (await import('./access.ts')).remove)
  access
    .command('remove')
    .description('let a token open nothing any more')
    .argument('<id>')
    .action((id, _, command) => remove(globalsOf(command), id))
}

function addCredential(credential: Commander, run: Run): void {
  const inWorkspace = () => new Option('--workspace <id>', 'the workspace').makeOptionMandatory()

  const set = run(async () => (await import('./credential.ts')).set)
  credential
    .command('set')
    .description('keep a secret, from standard input; apps have it from their next start on')
    .argument('<name>')
    .addOption(inWorkspace())
    .option('--from-file <file>', 'read the secret from this file')
    .option('--note <text>', 'what it is for')
    .action((name, options, command) => set(globalsOf(command), name, options))

  const list = run(async () => (await import('./credential.ts')).list)
  credential
    .command('list')
    .description('what is kept, without the secrets')
    .option('--workspace <id>', 'of this workspace only')
    .action((options, command) => list(globalsOf(command), options))

  const remove = run(async () => (await import('./credential.ts')).remove)
  credential
    .command('remove')
    .description('forget a secret; an app that runs keeps what it was given')
    .argument('<name>')
    .addOption(inWorkspace())
    .action((name, options, command) => remove(globalsOf(command), name, options))
}

function addMcp(program: Commander, run: Run): void {
  const mcp = run(async () => (await import('./mcp.ts')).mcp)
  program
    .command('mcp')
    .description('an MCP server on stdio: the apps of a workspace as one, or the management of all')
    .addOption(new Option('--workspace <id>', 'the apps of this workspace').conflicts('org'))
    .option('--org', "one tool that lists, checks and upgrades the organisation's apps")
    .action((options, command) => mcp(globalsOf(command), options))
}

function addJournal(journal: Commander, run: Run): void {
  const tail = run(async () => (await import('./journal.ts')).tail)
  journal
    .command('tail')
    .description('the last records')
    .option('-f, --follow', 'go on with every record that is added')
    .option('--from <seq>', 'begin with this record', sequence)
    .action(({ follow, from }, command) => tail(globalsOf(command), { follow: follow === true, from }))

  const runs = run(async () => (await import('./journal.ts')).runs)
  journal
    .command('runs')
    .description('the procedures, and where they are')
    .action((_, command) => runs(globalsOf(command)))

  const show = run(async () => (await import('./journal.ts')).show)
  journal
    .command('show <run>')
    .description('the state of one procedure')
    .option('--at <seq>', 'as it was right after this record', sequence)
    .action((name, { at }, command) => show(globalsOf(command), name, at))

  const verify = run(async () => (await import('./journal.ts')).verify)
  journal
    .command('verify')
    .description('read every record and check it')
    .action((_, command) => verify(globalsOf(command)))

  const exportAll = run(async () => (await import('./journal.ts')).exportAll)
  journal
    .command('export')
    .description('print every record, one JSON line each')
    .action((_, command) => exportAll(globalsOf(command)))

  const repair = run(async () => (await import('./journal.ts')).repair)
  journal
    .command('repair')
    .description('set damaged records aside, so that the home opens again')
    .action((_, command) => repair(globalsOf(command)))
}

function addMachine(machine: Commander, run: Run): void {
  const list = run(async () => (await import('./machine.ts')).list)
  machine
    .command('list')
    .description('every statechart')
    .action((_, command) => list(globalsOf(command)))

  const exportOne = run(async () => (await import('./machine.ts')).exportOne)
  machine
    .command('export <name>')
    .description('print one statechart: --mermaid, --svg or --json')
    .addOption(new Option('--mermaid', 'as Mermaid text').conflicts(['svg', 'json']))
    .addOption(new Option('--svg', 'as a drawing').conflicts(['mermaid', 'json']))
    .action((name, { mermaid, svg }, command) => {
      const format = mermaid ? 'mermaid' : svg ? 'svg' : 'json'
      return exportOne(globalsOf(command), name, format)
    })
}

function sequence(text: string): number {
  const value = Number(text)
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be the number of a record.')
  return value
}

function port(text: string): number {
  const value = Number(text)
  if (!/^\d{1,5}$/.test(text) || value > 65_535) throw new InvalidArgumentError('It must be a port, from 0 to 65535.')
  return value
}

function offset(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be the number of a byte.')
  return Number(text)
}

function size(text: string): Size {
  const [, columns, rows] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? []
  const value = { columns: Number(columns), rows: Number(rows) }
  if (!isBetween(value.columns, 1, 10_000) || !isBetween(value.rows, 1, 10_000))
    throw new InvalidArgumentError('It must be columns and rows, such as 120x40, each from 1 to 10000.')
  return value
}

const isBetween = (value: number, min: number, max: number) => value >= min && value <= max

const signals = ['HUP', 'INT', 'QUIT', 'KILL', 'USR1', 'USR2', 'TERM', 'CONT', 'STOP', 'TSTP', 'WINCH']

function signalName(text: string): string {
  const name = text.toUpperCase().replace(/^SIG/, '')
  if (!signals.includes(name)) throw new InvalidArgumentError(`It must be one of ${signals.join(', ')}.`)
  return `SIG${name}`
}

/** A word that names a folder, and never one elsewhere. */
function daemonName(text: string): string {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(text))
    throw new InvalidArgumentError('It must be the name of a daemon: small letters, digits, ".", "_" and "-".')
  return text
}
