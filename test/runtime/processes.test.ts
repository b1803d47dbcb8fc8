import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { childEnvironment } from '../../src/runtime/environment.ts'
import { fill } from '../../src/runtime/fill.ts'
import { reasonIn } from '../../src/runtime/output.ts'
import { freePort, listenersIn, parseLsof, parseNetstat, portHolder } from '../../src/runtime/ports.ts'
import { parseCim, parsePs, parseStat, processEntry, processTable } from '../../src/runtime/processes.ts'

test('this process is in the table, with its parent and the time it began', async () => {
  const own = (await processTable()).get(process.pid)
  expect(own).toMatchObject({ pid: process.pid, parent: process.ppid })
  expect(await processEntry(process.pid)).toEqual(own)
})

test('the table that other systems give by ps agrees', async () => {
  const own = (await processTable('darwin')).get(process.pid)
  expect(own).toMatchObject({ pid: process.pid, parent: process.ppid, group: (await processEntry(process.pid))!.group })
  const begunMs = Date.now() - process.uptime() * 1000
  expect(Math.abs(own!.start - begunMs)).toBeLessThan(5000)
  expect(await processEntry(process.pid, 'darwin')).toEqual(own)
})

test('a zombie is not alive', async () => {
  // The parent is a shell that has become a program which never asks how its child ended.
  const parent = spawn('/bin/sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [line] = await parent.stdout.take(1).toArray()
  const zombie = Number(String(line))
  await expect.poll(() => processEntry(zombie)).toBeUndefined()
  expect((await processTable()).has(zombie)).toBe(false)
  expect(() => process.kill(zombie, 0)).not.toThrow()
  parent.kill('SIGKILL')
  await once(parent, 'close')
})

test('a name with blanks and parentheses does not confuse the reading of a process', () => {
  const rest = '1 7 7 0 -1 4194304 139 0 0 0 0 0 0 0 20 0 1 0 142295 2654208 399'
  expect(parseStat(`41 (a) S (b) S ${rest}`)).toEqual({ pid: 41, parent: 1, group: 7, start: 142_295 })
  expect(parseStat(`41 (a) Z ${rest}`)).toBeUndefined()
  expect(parseStat('')).toBeUndefined()
})

test('what ps and PowerShell print is read, zombies and nonsense left out', () => {
  const text = '    1     0     1 Ss   Sat Nov 21 04:00:00 2026\n  9  1  9 Z+   Sat Nov 21 04:00:00 2026\n\nnonsense\n'
  expect(parsePs(text)).toEqual([{ pid: 1, parent: 0, group: 1, start: Date.UTC(2026, 10, 21, 4) }])
  expect(parseCim('4 0 1700000000000\r\n8 4 \r\n')).toEqual([{ pid: 4, parent: 0, group: 0, start: 1_700_000_000_000 }])
})

test('a free port is free, and its holder is found once it is taken', async () => {
  const port = await freePort()
  const ours = new Set([process.pid])
  expect(await portHolder(port, ours)).toBe('nobody')
  for (const host of ['127.0.0.1', '0.0.0.0', '::', '::1']) {
    const server = createServer()
    await once(server.listen(port, host), 'listening')
    const address = host.includes(':') ? '::1' : '127.0.0.1'
    expect(await portHolder(port, ours, address)).toBe('ours')
    expect(await portHolder(port, ours)).toBe('ours')
    expect(await portHolder(port, new Set([process.ppid]), address)).toBe('foreign')
    expect(await portHolder(port, new Set(), address)).toBe('foreign')
    await once(server.close(), 'close')
  }
})

test('of two listeners on a port, the one at the address that was asked counts', async () => {
  const port = await freePort()
  const other = spawn(
    process.execPath,
    ['-e', 'require("node:net").createServer().listen(+process.argv[1], "::1", () => console.log("up"))', String(port)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await other.stdout.take(1).toArray()
  const server = createServer()
  await once(server.listen(port, '127.0.0.1'), 'listening')
  const ours = new Set([process.pid])
  expect(await portHolder(port, ours, '127.0.0.1')).toBe('ours')
  expect(await portHolder(port, ours, '::1')).toBe('foreign')
  expect(await portHolder(port, ours)).toBe('foreign')
  await once(server.close(), 'close')
  other.kill('SIGKILL')
  await once(other, 'close')
})

test('listeners are read from what each system prints', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0D9C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3906 1 0 100 0 0 10 0
   1: 0100007F:0D9C 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 3907 1 0 20 4 30 10 -1`
  expect(listenersIn(table, 0x0d9c)).toEqual([{ address: '0100007F', inode: '3906' }])
  expect(listenersIn(table, 0x9999)).toEqual([])
  expect(parseLsof('41\n42\n\n')).toEqual([41, 42])
  const netstat =
    '  TCP    127.0.0.1:3484   0.0.0.0:0   ABHÖREN   77\r\n  TCP   [::]:3484  [::]:0  LISTENING  78\r\n  TCP  127.0.0.1:3484  127.0.0.1:9  ESTABLISHED  79\r\n'
  expect(parseNetstat(netstat, 3484)).toEqual([77, 78])
})

test('placeholders are filled in once, and unknown ones are refused', () => {
  expect(fill('--port=${port} ${home}/${home} $port {port} $', { port: 80, home: '${port}' })).toBe(
    '--port=80 ${port}/${port} $port {port} $',
  )
  for (const template of ['${prot}', '${}', '${toString}', '${ port }'])
    expect(() => fill(template, { port: 80 })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})

test('a child inherits the environment without what steers Instar', () => {
  const inherited = {
    PATH: '/bin',
    INSTAR_RUNTIME_OVERRIDE: 'x',
    INSTAR_NONCE: 'x',
    INSTAR_QUALIFYING: '1',
    INSTAR_HOME: 'h',
    'a.b': '1',
    C: undefined,
  }
  expect(childEnvironment({ X: '1' }, inherited, 'linux')).toEqual({ PATH: '/bin', INSTAR_HOME: 'h', X: '1' })
  expect(childEnvironment({ PATH: '/mine' }, inherited, 'win32')).toEqual({
    PATH: '/mine',
    INSTAR_HOME: 'h',
    'a.b': '1',
  })
})

test('the reason for an end is the error that was not caught, whatever was printed around it', () => {
  const reason = (stderr: string, stdout = '') => reasonIn({ stderr, stdout })
  expect(reason('node:internal/x:1\n  throw err;\n\nError [ERR_X]: no zod\n    at Error: y\n\nNode.js v20.20.2')).toBe(
    'Error [ERR_X]: no zod',
  )
  expect(reason('Failed to start: listen EADDRINUSE: in use\nbye', 'welcome')).toBe(
    'Failed to start: listen EADDRINUSE: in use',
  )
  expect(reason('error: unknown option', 'Usage: x')).toBe('error: unknown option')
  expect(reason('', 'Already running at http://x')).toBe('Already running at http://x')
  expect(reason('', '')).toBe('')
})
