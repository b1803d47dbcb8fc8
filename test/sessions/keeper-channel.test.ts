import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Compiled, compile } from '../support/compiled.ts'
import { eventually } from '../support/sessions/eventually.ts'

/** A process with a channel on descriptor 3, which prints what it hears; the test is its keeper. */
class Daemon implements AsyncDisposable {
  printed = ''
  said = ''
  private readonly child: ChildProcess

  constructor(module: string, keeper: 'pipe' | 'ignore', script: string) {
    const program = `
      import { KeeperChannel } from ${JSON.stringify(module)}
      const print = (...words) => console.log(JSON.stringify(words))
      const channel = new KeeperChannel(3, {
        exit: (pid, { code, signal }) => print('exit', pid, code, signal),
        lost: () => print('lost', channel.keeperPid),
      })
      setInterval(() => {}, 1000)
      ${script}`
    this.child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit', keeper],
    })
    this.child.stdout!.on('data', (bytes) => {
      this.printed += bytes
    })
    this.channel?.on('error', () => {}) // the daemon may be gone
    this.channel?.on('data', (bytes) => {
      this.said += bytes
    })
  }

  get channel(): Socket {
    return this.child.stdio[3] as Socket
  }

  /** Resolves once it has printed all of `lines`, and nothing else. */
  async prints(...lines: unknown[][]): Promise<void> {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    await eventually(() => this.printed.length >= text.length, 'what it prints')
    expect(this.printed).toBe(text)
  }

  async says(text: string): Promise<void> {
    await eventually(() => this.said.length >= text.length, 'what it says')
    expect(this.said).toBe(text)
  }

  get pid(): number {
    return this.child.pid!
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL')
    await eventually(() => this.child.exitCode !== null || this.child.signalCode !== null)
  }
}

describe.runIf(process.platform !== 'win32')('the channel to a keeper', () => {
  let compiled: Compiled
  beforeAll(async () => {
    compiled = await compile('src/sessions/keeper-channel.ts')
  })
  afterAll(async () => {
    await compiled?.remove()
  })
  const daemon = (script: string, keeper: 'pipe' | 'ignore' = 'pipe') =>
    new Daemon(compiled.file('src/sessions/keeper-channel.ts'), keeper, script)

  test('what was meant for a predecessor is skipped, also the half of a line that it left', async () => {
    await using it = daemon('channel.hello()')
    it.channel.write('xit 5 exit 9\nexit 6 exit 1\nkept 3\n')
    await it.says(`hello 1 ${it.pid}\n`)
    it.channel.write('keeper 1 77\nexit 7 exit 3\n')
    it.channel.write('exit 8 sig')
    await it.prints(['exit', 7, 3, null])
    it.channel.write('nal 9\nof a newer keeper\nexit 9 exit 0\n')
    await it.prints(['exit', 7, 3, null], ['exit', 8, null, 'SIGKILL'], ['exit', 9, 0, null])
  })

  test('nothing is heard while it is paused, and everything afterwards', async () => {
    await using it = daemon(`
      channel.hello()
      const paused = setInterval(() => {
        if (channel.keeperPid === null) return
        clearInterval(paused)
        channel.pause()
        channel.pause()
        channel.note(1, 'paused')
        setTimeout(() => { print('resumed'); channel.resume(); channel.resume() }, 300)
      }, 1)`)
    it.channel.write('keeper 1 77\n')
    await it.says(`hello 1 ${it.pid}\nnote 1 paused\n`)
    it.channel.write('exit 7 exit 3\n')
    await it.prints(['resumed'], ['exit', 7, 3, null])
  })

  test('a keeper that is gone is told once, and nobody waits for its answers', async () => {
    await using it = daemon(`
      channel.hello()
      const replaced = channel.exec('/a/keeper')
      const mute = setInterval(async () => {
        if (channel.keeperPid === null) return
        clearInterval(mute)
        print('replaced', await replaced)
        channel.note(1, 'for nobody')
        await channel.flushed()
        print('flushed', await channel.exec('/b/keeper'))
        channel.close()
        channel.close()
      }, 1)`)
    await it.says(`hello 1 ${it.pid}\nexec /a/keeper\n`)
    it.channel.write('keeper 1 77\n')
    await eventually(() => it.said.endsWith('/a/keeper\n'))
    setTimeout(() => it.channel.destroy(), 100)
    await it.prints(['lost', null], ['replaced', false], ['flushed', false])
  })

  test('where there is no keeper, that is told as one that is gone', async () => {
    await using it = daemon('channel.hello(); channel.bye()', 'ignore')
    await it.prints(['lost', null])
  })
})
