import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeBusyboxRoot } from '../support/busybox-root.ts'
import { eventually } from '../support/sessions/eventually.ts'
import { type Sshd, startSshd } from '../support/sshd.ts'
import { systemProgram } from '../support/system-program.ts'

// The places that other tests install plugins in from outside.

let scratch: string
let count = 0
beforeAll(async () => {
  // What is missing is installed here, where it may take its time.
  await systemProgram('sshd', 'openssh-server', { hasService: true })
  await systemProgram('busybox', 'busybox-static')
  scratch = await realpath(await mkdtemp(join(tmpdir(), 'instar-targets-')))
}, 300_000)
afterAll(() => rm(scratch, { recursive: true, force: true }))

function directory(): string {
  count += 1
  return join(scratch, `a place ${count}`)
}

interface Answer {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

class Running {
  stdout = ''
  private stderr = ''
  readonly child
  readonly answer: Promise<Answer>

  constructor([program, ...words]: readonly string[]) {
    this.child = spawn(program!, words)
    // What it reads may be gone before it has got all.
    this.child.stdin.on('error', () => {})
    this.child.stdout.on('data', (text) => {
      this.stdout += text
    })
    this.child.stderr.on('data', (text) => {
      this.stderr += text
    })
    this.answer = once(this.child, 'close').then(([code]) => ({ code, stdout: this.stdout, stderr: this.stderr }))
  }

  async says(text: string): Promise<void> {
    await eventually(() => this.stdout.includes(text), `an output of ${text}`)
  }
}

function answerOf(command: readonly string[], input = ''): Promise<Answer> {
  const running = new Running(command)
  running.child.stdin.end(input)
  return running.answer
}

const ssh = (sshd: Sshd, ...command: string[]) => [
  join(sshd.bin, 'ssh'),
  ...['-o', 'BatchMode=yes', '-p', String(sshd.port), `${sshd.user}@${sshd.address}`],
  ...command,
]

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )

async function isReachable(port: number): Promise<boolean> {
  const socket = createConnection(port, '127.0.0.1')
  return once(socket, 'connect').then(
    () => {
      socket.destroy()
      return true
    },
    () => false,
  )
}

test('a command over ssh gets its input and answers with its output and its exit code, by address and by name', async () => {
  await using sshd = await startSshd(directory())
  expect(await answerOf(ssh(sshd, 'cat; echo "$0" done; exit 7'), 'text\n')).toMatchObject({
    code: 7,
    stdout: expect.stringMatching(/^text\n\S+ done\n$/),
  })
  expect(await answerOf([join(sshd.bin, 'ssh'), sshd.alias, 'echo', 'named'])).toMatchObject({
    code: 0,
    stdout: 'named\n',
  })
  expect([await sshd.connections(), await sshd.sessions()]).toEqual([2, 2])
})

test('a host whose key is not known is refused, and stays unknown until somebody trusts it', async () => {
  await using sshd = await startSshd(directory(), { isTrusted: false })
  const refused = await answerOf(ssh(sshd, 'echo', 'in'))
  expect(refused).toMatchObject({ code: 255, stdout: '' })
  expect(refused.stderr).toContain('Host key verification failed')
  expect([await sshd.knownHosts(), await sshd.connections()]).toEqual(['', 0])

  await sshd.trust()
  expect(await answerOf(ssh(sshd, 'echo', 'in'))).toMatchObject({ code: 0, stdout: 'in\n' })
  expect(await sshd.knownHosts()).toBe(`[127.0.0.1]:${sshd.port} ${sshd.hostKey}\n`)
})

test('a connection that is cut ends the client with 255, and what it ran goes on', async () => {
  await using sshd = await startSshd(directory())
  const running = new Running(ssh(sshd, 'echo begun; cat > /dev/null; exec sleep 1000'))
  await running.says('begun')
  await sshd.cutConnections()
  expect(await running.answer).toMatchObject({ code: 255, stdout: 'begun\n' })
  expect(await sshd.remaining()).not.toEqual([])
  expect(await answerOf(ssh(sshd, 'echo', 'again'))).toMatchObject({ code: 0, stdout: 'again\n' })
})

test('a command that is killed leaves its connection, over which the next one runs', async () => {
  const place = directory()
  await using sshd = await startSshd(place)
  const shared = [
    '-o',
    'ControlMaster=auto',
    '-o',
    `ControlPath="${join(place, 'control')}"`,
    '-o',
    'ControlPersist=60',
  ]
  const [wrapper, ...words] = ssh(sshd)
  const first = new Running([wrapper!, ...shared, ...words, 'echo begun; cat | cat; echo over'])
  await first.says('begun')
  await sshd.killCommands()
  expect((await first.answer).stdout).toBe('begun\n')

  expect(await answerOf([wrapper!, ...shared, ...words, 'echo', 'next'])).toMatchObject({ code: 0, stdout: 'next\n' })
  expect([await sshd.connections(), await sshd.sessions()]).toEqual([1, 2])
})

test('after its end nothing is left of the server, of its connections or of what they ran', async () => {
  await using sshd = await startSshd(directory())
  const cut = new Running(ssh(sshd, 'echo $$; exec sleep 1000'))
  await cut.says('\n')
  await sshd.cutConnections()
  const open = new Running(ssh(sshd, 'echo $$; sleep 1000 | cat'))
  await open.says('\n')
  // Each shell says its own id, so that this holds whatever the server's own list has.
  const shells = [Number(cut.stdout), Number(open.stdout)]
  const pids = [sshd.pid, ...shells, ...(await sshd.remaining())]
  expect(await sshd.remaining()).toEqual(expect.arrayContaining(shells))
  expect(await isReachable(sshd.port)).toBe(true)

  await Promise.all([sshd.stop(), sshd.stop()])
  expect((await open.answer).code).toBe(255)
  expect(await sshd.remaining()).toEqual([])
  await eventually(async () => (await Promise.all(pids.map((pid) => exists(`/proc/${pid}`)))).every((is) => !is))
  expect(await isReachable(sshd.port)).toBe(false)
})

test('a command in a root of BusyBox gets its words, its input and an empty environment, and its exit code comes back', async () => {
  await using busybox = await makeBusyboxRoot(directory())
  const { prefix } = busybox
  expect(await answerOf([...prefix, 'sh', '-c', 'echo "$1"; cat; exit 9', 'x', 'a b'], 'text\n')).toEqual({
    code: 9,
    stdout: 'a b\ntext\n',
    stderr: '',
  })
  expect((await answerOf([...prefix, 'env'])).stdout).toBe('PATH=/bin:/sbin:/usr/bin:/usr/sbin\nHOME=/\n')
  expect((await answerOf([...prefix, 'ls', '/'])).stdout).toBe('bin\nconfigs\ndev\nproc\nsbin\ntmp\nusr\n')
  expect((await answerOf([...prefix, 'nothing'])).code).toBe(127)
  expect((await answerOf([...prefix, 'sh', '-c', 'echo lost > /dev/null; head -c 2 /dev/zero | wc -c'])).stdout).toBe(
    '2\n',
  )
})

test('the files of a root are seen from outside, and outside nothing is mounted', async () => {
  await using busybox = await makeBusyboxRoot(directory())
  await answerOf([...busybox.prefix, 'sh', '-c', 'cat > /configs/plugin'], 'new')
  expect(await readFile(join(busybox.root, 'configs/plugin'), 'utf8')).toBe('new')
  await busybox.mountSmall(64)
  await answerOf([...busybox.prefix, 'sh', '-c', 'cat > /small/plugin'], 'small')
  expect(await exists(join(busybox.root, 'small/plugin'))).toBe(false)
  expect(await readFile(busybox.seen('/small/plugin'), 'utf8')).toBe('small')

  const mounts = async (path: string) => (await readFile(path, 'utf8')).split('\n').map((line) => line.split(' ')[1])
  // Linux writes a space in a path as \040.
  const place = busybox.root.replaceAll(' ', '\\040')
  expect((await mounts('/proc/self/mounts')).filter((path) => path?.startsWith(place))).toEqual([])
  expect(await mounts(`/proc/${busybox.pid}/mounts`)).toContain('/small')
  expect(await mounts(`/proc/${busybox.pid}/mounts`)).not.toContain('/sys')
})

test('the small disk of a root gets full, and its read-only one takes nothing', async () => {
  await using busybox = await makeBusyboxRoot(directory())
  const { prefix } = busybox
  const small = await busybox.mountSmall(64)
  const full = await answerOf([...prefix, 'dd', 'if=/dev/zero', `of=${small}/big`, 'bs=4096', 'count=17'])
  expect(full).toMatchObject({ code: 1, stderr: expect.stringContaining('No space left on device') })
  await busybox.unmount(small)
  expect((await answerOf([...prefix, 'ls', small])).stdout).toBe('')

  const readOnly = await busybox.mountReadOnly()
  await writeFile(join(busybox.root, readOnly, 'before'), 'kept')
  expect((await answerOf([...prefix, 'cat', `${readOnly}/before`])).stdout).toBe('kept')
  const refused = await answerOf([...prefix, 'sh', '-c', `echo > ${readOnly}/after`])
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('Read-only file system') })
})

test('after its end nothing is left of a root, in which nothing that lost its parent stayed as a zombie', async () => {
  await using busybox = await makeBusyboxRoot(directory())
  const { prefix } = busybox
  const inside = async () => (await answerOf([...prefix, 'ps'])).stdout
  const abandoned = new Running([...prefix, 'sleep', '1000'])
  const running = new Running([...prefix, 'sh', '-c', 'sleep 2000; true'])
  await eventually(async () => /sleep 1000.*sleep 2000/s.test(await inside()))
  abandoned.child.kill('SIGKILL')
  await once(abandoned.child, 'exit')
  expect(await inside()).toContain('sleep 1000')

  await answerOf([...prefix, 'sh', '-c', '(sleep 0.2; true) > /dev/null 2>&1 & (sleep 0.1) & sleep 0.05'])
  await eventually(async () => !(await inside()).includes('sleep 0.'))
  expect((await answerOf([...prefix, 'sh', '-c', 'grep -l "^State:.Z" /proc/[0-9]*/status'])).stdout).toBe('')

  await busybox[Symbol.asyncDispose]()
  await Promise.all([abandoned.answer, running.answer])
  expect(await exists(`/proc/${busybox.pid}`)).toBe(false)
  expect((await answerOf([...prefix, 'true'])).code).toBe(1)
})
