import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DaemonClient, Session } from '../../src/sessions/client.ts'
import type { HandoffResult, Size } from '../../src/sessions/protocol.ts'
import { renderScreen, type Screen } from '../../src/sessions/screen.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { FollowedText } from '../support/sessions/followed.ts'
import { sessionScene } from '../support/sessions/scene.ts'
import { systemProgram } from '../support/system-program.ts'

// Scenario *Sessions* 15: programs that own the screen, used in two terminals alike. One daemon is upgraded three times
// in between, the other is not; after every step both screens have to look the same.

const scene = sessionScene()
let files: string
beforeAll(async () => {
  for (const [name, debianPackage] of [['vim'], ['less'], ['top', 'procps'], ['tmux']] as const)
    await systemProgram(name, debianPackage)
  files = await mkdtemp(join(tmpdir(), 'instar-programs-'))
  const lines = Array.from(
    { length: 500 },
    (_, index) => `line ${index + 1} of the text, a bit of ${'x'.repeat(index % 40)}`,
  )
  await writeFile(join(files, 'text'), `${lines.join('\n')}\n`)
}, 300_000)
afterAll(() => rm(files, { recursive: true, force: true }))

/** One program in one terminal. */
class Terminal {
  private readonly output: FollowedText
  private size: Size = { columns: 80, rows: 24 }

  constructor(private readonly session: Session) {
    this.output = new FollowedText(session)
  }

  static async open(client: DaemonClient, { command, env = {} }: Pick<Program, 'command' | 'env'>): Promise<Terminal> {
    return new Terminal(await client.open({ command, cwd: files, env, size: { columns: 80, rows: 24 } }))
  }

  get screen(): Promise<Screen> {
    return renderScreen(Buffer.from(this.output.looked().text, 'latin1'), this.size)
  }

  type(keys: string): Promise<void> {
    return this.session.write(Buffer.from(keys))
  }

  async resize(size: Size): Promise<void> {
    this.size = size
    await this.session.resize(size)
  }

  async shows(text: string | RegExp): Promise<void> {
    await eventually(async () => new RegExp(text).test((await this.screen).text), `"${text}" on the screen`).catch(
      async (cause) => {
        throw new Error(`"${text}" is not on the screen:\n${(await this.screen).text}`, { cause })
      },
    )
  }

  get ends() {
    return this.output.ends()
  }
}

interface Program {
  readonly name: string
  readonly command: string[]
  readonly env?: Record<string, string>
  /** What is shown when it has begun. */
  readonly begins: string | RegExp
  readonly steps: readonly { keys?: string; resize?: Size; shows: string | RegExp }[]
  readonly leave: string
  /** Of a screen, what has to be the same; by default all of it. */
  readonly seen?: (screen: Screen) => unknown
}

const wider: Size = { columns: 100, rows: 30 }

const programs = (): Program[] => [
  {
    name: 'vim',
    command: ['vim', '-u', 'NONE', '-i', 'NONE', '-n', 'text'],
    begins: /line 20 /,
    steps: [
      { keys: ':set number\r', shows: / 20 line 20 / },
      { keys: '100Gihello \x1b', shows: /100 hello line 100/ },
      { keys: ':split\r\x17j250G', shows: /250 line 250/ },
      { resize: wider, shows: /250 line 250/ },
      { keys: 'dd/line 300\r', shows: /300 of the/ },
    ],
    leave: ':qa!\r',
  },
  {
    name: 'less',
    command: ['less', '-N', 'text'],
    env: { LESS: '', LESSHISTFILE: '-' },
    begins: / 23 line 23 /,
    steps: [
      { keys: ' ', shows: /46 line 46 / },
      { keys: '/line 321 \r', shows: /321 line 321 / },
      { resize: wider, shows: /345 line 345 / },
      { keys: 'G', shows: /500 line 500 / },
      { keys: '?line 77 \r', shows: /77 line 77 / },
    ],
    leave: 'q',
  },
  {
    name: 'top',
    command: ['top', '-d', '900', '-p', '1'],
    env: { HOME: files },
    begins: /PID USER/,
    steps: [
      { keys: 'c', shows: /PID USER/ },
      { keys: 't', shows: /%Cpu\(s\):.*\[/ },
      { keys: 'h', shows: /Help for Interactive/ },
      { keys: 'q', shows: /PID USER/ },
    ],
    leave: 'q',
    // What it measures differs from one to the other, and so do the places where that ends.
    seen: ({ text, cursor }) => [
      text.replaceAll(/[\d.,:|\s]+/g, ' ').replaceAll(/\b(days?|min|users?|load)\b/g, ''),
      cursor.row,
    ],
  },
  {
    name: 'tmux',
    command: ['tmux', '-S', tmuxSocket('NAME'), '-f', join(files, 'tmux.conf')],
    begins: /^\$$/m,
    steps: [
      { keys: 'echo top-$((40 + 2))\r', shows: /top-42/ },
      { keys: '\x02"', shows: /─{20}\n\$$/m },
      { keys: 'echo below-$((40 + 3))\r', shows: /below-43/ },
      { resize: wider, shows: /─{100}/ },
      { keys: '\x02%', shows: /│\$$/m },
      { keys: 'echo right-$((40 + 4))\r', shows: /right-44/ },
    ],
    leave: '\x02k',
  },
  {
    name: 'a REPL',
    command: [process.execPath, '--interactive'],
    env: { NODE_REPL_HISTORY: '', NO_COLOR: '1' },
    begins: /^>$/m,
    steps: [
      { keys: 'const answer = 40 + 2\r', shows: /undefined/ },
      { keys: '`it is ${answer}`\r', shows: /'it is 42'/ },
      { keys: 'answer.toFix\t', shows: /answer\.toFixed$/m },
      { keys: '(1)\r', shows: /'42\.0'/ },
      { keys: '\x1b[A\x1b[A\r', shows: /'it is 42'[\s\S]*'it is 42'/ },
    ],
    leave: '.exit\r',
  },
]

test.each(['vim', 'less', 'top', 'tmux', 'a REPL'])(
  '15: %s carries on through three upgrades, and its screen is that of one that was not upgraded',
  async (name) => {
    const program = programs().find((one) => one.name === name)!
    await using upgraded = await scene.start({ keeper: true })
    await using untouched = await scene.start({ keeper: true })
    await using _ = tmuxServers()
    const client = await upgraded.client({ reconnect: false })
    await writeFile(join(files, 'tmux.conf'), tmuxConfiguration)
    const commandFor = (which: string) => program.command.map((part) => part.replace('NAME', which))
    const env = { PS1: '$ ', ENV: '', SHELL: '/bin/sh', ...program.env }
    const terminals = [
      await Terminal.open(client, { command: commandFor('a'), env }),
      await Terminal.open(await untouched.client(), { command: commandFor('b'), env }),
    ]
    const [one, other] = terminals as [Terminal, Terminal]
    const seen = program.seen ?? (({ text, ansi, cursor }: Screen) => ({ text, ansi, cursor }))
    const same = async (step: string) => {
      const look = async (terminal: Terminal) => seen(await terminal.screen)
      const areSame = async () => JSON.stringify(await look(one)) === JSON.stringify(await look(other))
      await eventually(areSame, 'the same screen').catch(async () =>
        expect(await look(one), step).toEqual(await look(other)),
      )
    }
    for (const terminal of terminals) await terminal.shows(program.begins)
    await same('at the beginning')
    const asked: Promise<HandoffResult>[] = []
    for (const [index, { keys, resize, shows }] of program.steps.entries()) {
      if (asked.length < 3) {
        const upgrade = client.upgrade()
        // The last one comes while the program answers.
        asked.push(upgrade)
        if (asked.length < 3) await upgrade
        upgrade.catch(() => {}) // looked at below
      }
      for (const terminal of terminals) {
        if (keys !== undefined) await terminal.type(keys)
        if (resize !== undefined) await terminal.resize(resize)
      }
      for (const terminal of terminals) await terminal.shows(shows)
      await same(`after step ${index + 1}`)
    }
    expect((await Promise.all(asked)).map(({ outcome }) => outcome)).toEqual(Array(3).fill('handed-over'))
    for (const terminal of terminals) await terminal.type(program.leave)
    for (const terminal of terminals) expect(await terminal.ends).toMatchObject({ code: 0, signal: null, lost: false })
  },
)

const tmuxSocket = (which: string) => join(files, `tmux-${which}`)

/** They detach themselves from everything, so a test that fails would leave them. */
function tmuxServers(): AsyncDisposable {
  const end = (which: string) => promisify(execFile)('tmux', ['-S', tmuxSocket(which), 'kill-server']).catch(() => {})
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(['a', 'b'].map(end)) // an error says that none runs
    },
  }
}

/** Nothing in it that differs from one minute, or one machine, to the next. */
const tmuxConfiguration = `
set -g status-left 'left '
set -g status-right 'right'
set -g default-command sh
set -g window-status-current-format 'window'
set -s escape-time 0
bind k kill-session
`
