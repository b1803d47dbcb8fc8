// Sessions: what an upgrade, a crash, and the daemon itself cost, beside the same without a daemon and beside multiplexers.
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { source, withCompiled } from './compiled.mjs'
import { inScratch, inTurns, median, percentile, row, timed } from './measure.mjs'
import {
  attachedTerminal,
  DaemonTerminal,
  echoTimes,
  isThere,
  multiplexers,
  OwnTerminal,
  quiet,
  RelayedTerminal,
  timeToEnd,
} from './terminals.mjs'

const streamBytes = 100_000_000
const keystrokes = 200
/** Before they are counted: a process that has done little yet is slower, and a daemon is up for months. */
const warmKeystrokes = 5000
const alsoCompiled = [
  'src/sessions/master.ts',
  'src/sessions/native-pty.ts',
  'src/sessions/start-daemon.ts',
  'src/sessions/terminal.ts',
]

/**
 * @param long Also the thousand upgrades and the thousand sessions.
 * @param part The name of the only part that is wanted.
 */
export const sessions = ({ long = false, part: only } = {}) =>
  withCompiled(
    ['stress', 'terminal-program'].map((name) => `test/support/sessions/${name}.ts`).concat(alsoCompiled),
    async ({ file, load }) => {
      const [{ DaemonTrial }, { stress }, { TerminalProgram }, client, { Master }, { loadNativePty }] =
        await Promise.all(
          [
            'test/support/sessions/daemon-trial.ts',
            'test/support/sessions/stress.ts',
            'test/support/sessions/terminal-program.ts',
            'src/sessions/client.ts',
            'src/sessions/master.ts',
            'src/sessions/native-pty.ts',
          ].map(load),
        )
      const { residentBytes } = await load('test/support/sessions/processes.ts')
      const { nodeFlags } = await load('src/sessions/start-daemon.ts')
      const daemon = {
        main: source('dist/daemon.cjs'),
        nodeFlags,
        keeper: file('dist/native/keeper').replace(/\.js$/, ''),
      }
      const programs = await TerminalProgram.build(source('test/support/sessions/terminal-program.c'))
      const world = {
        programs,
        stress,
        residentBytes,
        connect: client.connectDaemon,
        own: { Master, pty: loadNativePty() },
        sources: file('.'),
        /** A daemon with a keeper for as long as `work` takes. */
        async withDaemon(work) {
          const trial = await DaemonTrial.start(daemon, { keeper: true })
          try {
            return await inScratch(async (scratch) => work(trial, await trial.client({ reconnect: false }), scratch))
          } finally {
            await trial[Symbol.asyncDispose]()
          }
        },
      }
      try {
        const rows = []
        const always = [freezes, silence, throughput, echoes, memory, opening, crash, underStress]
        const parts = (long ? [...always, longStress] : always).filter(
          ({ name }) => only === undefined || name === only,
        )
        if (parts.length === 0)
          throw new Error(`there is no part "${only}"; there are ${always.map(({ name }) => name)}`)
        for (const part of parts) {
          console.error(`  ${part.name} …`)
          rows.push(...(await part(world)))
        }
        return rows
      } finally {
        await programs[Symbol.asyncDispose]()
      }
    },
  )

/** A figure that is held against a number, not against a peer. */
const absolute = (name, value, unit, most) =>
  row({ name, value, unit, peer: '-', ratio: value / most, goal: `<= ${most} ${unit}`, ok: value <= most })

/** A figure that may be so much more than the peer's. */
const beyond = (name, value, peer, most, unit = 'ms') =>
  row({ name, value, unit, peer, ratio: value / peer, goal: `<= ${most} ${unit} more`, ok: value - peer <= most })

const forComparison = (name, value, unit, peer) =>
  row({ name, value, unit, peer, ratio: value / peer, goal: 'for comparison', ok: true })

const missing = (name, program) =>
  row({ name, value: '-', unit: '', peer: '-', ratio: '-', goal: `${program} is not installed`, ok: true })

async function freezes({ withDaemon, programs }) {
  const frozen = async (busy, upgrades) =>
    withDaemon(async (trial, client) => {
      const ids = []
      for (let index = 0; index < busy; index += 1)
        ids.push((await client.open({ command: programs.stream({ begin: 1 }) })).id)
      return discarding(trial, ids, async () => {
        for (const id of ids) await (await client.session(id)).write('x')
        const times = []
        for (let index = 0; index < upgrades; index += 1) {
          times.push((await handOver(client)).freezeMs)
          await sleep(50)
        }
        return times
      })
    })
  const [some, many] = [await frozen(64, 40), await frozen(256, 12)]
  return [
    absolute('freeze, 64 busy sessions, p50', median(some), 'ms', 3),
    absolute('freeze, 64 busy sessions, p99', percentile(some, 0.99), 'ms', 20),
    absolute('freeze, 256 busy sessions, p50', median(many), 'ms', 10),
  ]
}

async function handOver(client) {
  const result = await client.upgrade()
  if (result.outcome !== 'handed-over') throw new Error(`the daemon was kept: ${JSON.stringify(result.reason)}`)
  return result
}

/** Someone types as fast as answers come; the longest wait for one, from before the request to after the end of it. */
async function silence({ withDaemon, programs }) {
  const times = { upgrade: [], nothing: [] }
  await withDaemon(async (trial, client) => {
    for (let index = 0; index < 64; index += 1) await client.open({ command: programs.idle() })
    const typist = await trial.client({ reconnect: false })
    const terminal = await DaemonTerminal.open(typist, programs.echo())
    await quiet(terminal)
    for (let round = 0; round < 30; round += 1) {
      let took = 0
      const during = async (work) => {
        let over = false
        const end = work().then(() => {
          over = true
        })
        let longest = 0
        while (!over) longest = Math.max(longest, ...(await echoTimes(terminal, 1)))
        await end
        return longest
      }
      times.upgrade.push(
        await during(async () => {
          took = await timed(() => handOver(client))
        }),
      )
      times.nothing.push(await during(() => sleep(took)))
    }
    await terminal.end()
  })
  return [
    absolute('silence over an upgrade, 64 idle sessions, p50', median(times.upgrade), 'ms', 15),
    forComparison('  over as long without one', median(times.nothing), 'ms', median(times.upgrade)),
  ]
}

async function throughput({ withDaemon, own, sources, programs }) {
  return withDaemon(async ({ socket }, client, scratch) => {
    const command = programs.stream({ bytes: streamBytes, begin: 1 })
    const peers = Object.keys(multiplexers).filter(isThere)
    /** @param counted `all`: every byte has to arrive; `arrived`: those that do count; `printed`: those that do not, too. */
    const rate = async (terminal, counted) => {
      const { ms, received } = await timeToEnd(terminal)
      if (counted === 'all' && received !== streamBytes) throw new Error(`${received} bytes of ${streamBytes} arrived`)
      return (counted === 'arrived' ? received : streamBytes) / 1e6 / (ms / 1000)
    }
    const rates = await inTurns(5, {
      daemon: async () => rate(await DaemonTerminal.open(client, command), 'all'),
      own: () => rate(new OwnTerminal(own, command), 'all'),
      attached: async () => rate(await attachedTerminal({ own, sources, client, socket, command }), 'arrived'),
      ...Object.fromEntries(
        peers.map((name) => [
          name,
          async () => {
            const { command: seen, close } = await multiplexers[name](scratch, command)
            // Both print something of their own as well, and tmux shows only what fits.
            const value = await rate(new OwnTerminal(own, seen), name === 'tmux' ? 'printed' : 'arrived')
            close()
            return value
          },
        ]),
      ),
    })
    const p50 = Object.fromEntries(Object.entries(rates).map(([name, values]) => [name, median(values)]))
    return [
      row({
        name: 'throughput of one session to one client',
        value: p50.daemon,
        unit: 'MB/s',
        peer: p50.own,
        ratio: p50.daemon / p50.own,
        goal: '>= 0.9 × the same terminal read in-process',
      }),
      forComparison('  as `session attach`, in a terminal as the next two', p50.attached, 'MB/s', p50.own),
      peers.includes('tmux')
        ? row({
            name: '  beside tmux (which shows a part of it)',
            value: p50.daemon,
            unit: 'MB/s',
            peer: p50.tmux,
            ratio: p50.daemon / p50.tmux,
            goal: '>= 1 × tmux',
          })
        : missing('  beside tmux', 'tmux'),
      peers.includes('dtach')
        ? row({
            name: '  beside dtach',
            value: p50.daemon,
            unit: 'MB/s',
            peer: p50.dtach,
            ratio: p50.daemon / p50.dtach,
            goal: '>= 0.9 × dtach',
          })
        : missing('  beside dtach', 'dtach'),
    ]
  })
}

async function echoes({ withDaemon, own, sources, programs }) {
  return withDaemon(async (trial, client, scratch) => {
    const peers = Object.keys(multiplexers).filter(isThere)
    const terminals = {
      own: new OwnTerminal(own, programs.echo()),
      daemon: await DaemonTerminal.open(client, programs.echo()),
      relayed: await RelayedTerminal.open(sources, scratch, programs.echo()),
    }
    const closes = []
    for (const name of peers) {
      const { command, close } = await multiplexers[name](scratch, programs.echo())
      terminals[name] = new OwnTerminal(own, command)
      closes.push(close)
    }
    const sides = Object.fromEntries(
      Object.entries(terminals).map(([name, terminal]) => [name, () => echoTimes(terminal, keystrokes)]),
    )
    const warming = Object.fromEntries(
      Object.entries(terminals).map(([name, terminal]) => [name, () => echoTimes(terminal, warmKeystrokes)]),
    )
    for (const terminal of Object.values(terminals)) await quiet(terminal)
    await inTurns(1, warming)
    const calm = await inTurns(6, sides)
    const flooded = await beside(trial, client, programs, () => inTurns(6, { daemon: sides.daemon, own: sides.own }))
    for (const close of closes) close()
    for (const terminal of Object.values(terminals)) await terminal.end().catch(() => {})
    const p50 = Object.fromEntries(Object.entries(calm).map(([name, values]) => [name, median(values)]))
    const inFlood = { daemon: median(flooded.daemon), own: median(flooded.own) }
    return [
      beyond('echo round trip p50', p50.daemon, p50.own, 0.15),
      forComparison('  beside a bare relay, the least a second process costs', p50.daemon, 'ms', p50.relayed),
      beyond('  beside a flooding session', inFlood.daemon, inFlood.own, 0.5),
      peers.includes('tmux')
        ? row({
            name: '  beside tmux',
            value: p50.daemon,
            unit: 'ms',
            peer: p50.tmux,
            ratio: p50.daemon / p50.tmux,
            goal: '<= 1 × tmux',
          })
        : missing('  beside tmux', 'tmux'),
      peers.includes('dtach')
        ? forComparison('  beside dtach', p50.daemon, 'ms', p50.dtach)
        : missing('  beside dtach', 'dtach'),
    ]
  })
}

/** While another session prints all it can to a client in another process. */
async function beside(trial, client, programs, work) {
  const session = await client.open({ command: programs.stream() })
  try {
    return await discarding(trial, [session.id], work)
  } finally {
    await session.close()
  }
}

/** While a client in another process takes all that these sessions print. */
async function discarding(trial, ids, work) {
  const reader = fileURLToPath(new URL('./discard.mjs', import.meta.url))
  const child = spawn(process.execPath, [reader, trial.socket, ...ids], { stdio: ['ignore', 'ignore', 'inherit'] })
  await sleep(500)
  try {
    return await work()
  } finally {
    child.kill()
  }
}

async function memory({ withDaemon, programs, residentBytes }) {
  return withDaemon(async (_, client) => {
    for (let index = 0; index < 100; index += 1) await client.open({ command: programs.idle() })
    await handOver(client)
    await sleep(2000)
    const { pid, keeper } = await client.info()
    const megabytes = async (process) => (await residentBytes(process)) / 1e6
    return [
      absolute('memory of a daemon with 100 sessions', await megabytes(pid), 'MB', 65),
      absolute('memory of its keeper', await megabytes(keeper.pid), 'MB', 2),
    ]
  })
}

async function opening({ withDaemon, programs }) {
  const { default: pty } = await import('node-pty')
  return withDaemon(async (_, client) => {
    const [file, ...args] = programs.idle()
    const times = await inTurns(200, {
      async daemon() {
        let session
        const ms = await timed(async () => {
          session = await client.open({ command: [file, ...args], cwd: '/' })
        })
        await session.close()
        return ms
      },
      async raw() {
        let terminal
        const ms = await timed(() => {
          terminal = pty.spawn(file, args, { cwd: '/', cols: 80, rows: 24 })
        })
        const ended = new Promise((resolve) => terminal.onExit(resolve))
        terminal.kill('SIGKILL')
        await ended
        return ms
      },
    })
    return [beyond('opening a session p50, against raw node-pty', median(times.daemon), median(times.raw), 2)]
  })
}

async function crash({ withDaemon, programs, connect }) {
  const times = await withDaemon(async (trial, client) => {
    for (let index = 0; index < 64; index += 1) await client.open({ command: programs.idle() })
    const values = []
    for (let round = 0; round < 12; round += 1) {
      // A daemon that dies young is started again with a delay, and that is not what is measured.
      await sleep(2500)
      const pid = await trial.pid()
      process.kill(pid, 'SIGKILL')
      values.push(
        await timed(async () => {
          const next = await connect({ path: trial.socket })
          const { sessions } = await next.info()
          if (sessions !== 64) throw new Error(`${sessions} sessions are left of 64`)
          await next.close()
        }),
      )
    }
    return values
  })
  return [absolute('first answer after kill -9, 64 sessions, p50', median(times), 'ms', 250)]
}

const stressed = (name, report) => [
  row({
    name: `${name}: compared, none lost, repeated or moved`,
    value: report.bytes / 1e6,
    unit: 'MB',
    peer: '-',
    ratio: '-',
    goal: `${report.upgrades.length} upgrades, 0 disconnects`,
    ok: true,
  }),
  row({
    name: '  short sessions beside it, each end as asked for',
    value: report.ends,
    unit: '',
    peer: '-',
    ratio: '-',
    goal: 'all',
    ok: true,
  }),
  row({
    name: '  connects in a tight loop, each answered',
    value: report.connects,
    unit: '',
    peer: '-',
    ratio: '-',
    goal: 'all',
    ok: true,
  }),
  row({
    name: '  memory of the last daemon, against the first',
    value: report.last.residentBytes / 1e6,
    unit: 'MB',
    peer: report.first.residentBytes / 1e6,
    ratio: report.last.residentBytes / report.first.residentBytes,
    goal: '<= 1.5 × the first',
  }),
  row({
    name: '  descriptors of the last daemon, against the first',
    value: report.last.descriptors,
    unit: '',
    peer: report.first.descriptors,
    ratio: report.last.descriptors / report.first.descriptors,
    goal: '<= 1 × the first',
  }),
  forComparison(
    '  freeze p50, p99 as peer',
    median(report.upgrades.map(({ freezeMs }) => freezeMs)),
    'ms',
    percentile(
      report.upgrades.map(({ freezeMs }) => freezeMs),
      0.99,
    ),
  ),
]

// Whatever is wrong in there rejects.
async function underStress({ withDaemon, stress, programs }) {
  const load = { printing: 32, echoing: 16, clients: 4, upgrades: 100 }
  return stressed('32 + 16 sessions', await withDaemon((trial) => stress(trial, programs, load)))
}

async function longStress({ withDaemon, stress, programs }) {
  const often = { printing: 8, echoing: 4, clients: 4, upgrades: 1000 }
  const many = { printing: 4, echoing: 16, idle: 980, clients: 4, upgrades: 10, rate: 500_000 }
  return [
    ...stressed('1000 upgrades', await withDaemon((trial) => stress(trial, programs, often))),
    ...stressed('1000 sessions', await withDaemon((trial) => stress(trial, programs, many))),
  ]
}
