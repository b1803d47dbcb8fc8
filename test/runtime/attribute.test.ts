import { expect, test } from 'vitest'
import { attribute } from '../../src/runtime/attribute.ts'

const exited = (details: object) => ({
  code: 'RUNTIME_EXITED',
  message: 'the runtime ended',
  details: { code: 1, ...details },
})

test.each([
  ['Error: listen EADDRINUSE: address already in use 127.0.0.1:3484'],
  ['Port 3484 is already in use'],
  ['ENOSPC: no space left on device, write'],
  ['sh: 1: cannot create x: No space left on device'],
  ['EMFILE: too many open files, watch'],
  ['spawn ENOMEM'],
  ['EROFS: read-only file system, open'],
])('a runtime that ends saying "%s" is not blamed', (output) => {
  expect(attribute(exited({ output }))).toBe('environment')
})

test.each([
  ["Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'zod' imported from /x/dist/cli.js"],
  ['Error: Failed to load native module: pty.node'],
  ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory'],
  ["Error: ENOENT: no such file or directory, open '/x/dist/missing.js'"],
  [''],
])('a runtime that ends saying "%s" is blamed', (output) => {
  expect(attribute(exited({ output }))).toBe('version')
})

test('an end that nobody saw, a program that could not be run and a port in other hands blame nobody', () => {
  expect(attribute(exited({ code: null, lost: true }))).toBe('environment')
  expect(attribute(exited({ code: 126 }))).toBe('environment')
  expect(attribute(exited({ code: 127 }))).toBe('environment')
  expect(attribute(exited({ code: 0, portHolder: 'foreign' }))).toBe('environment')
  expect(attribute(exited({ code: 0, portHolder: 'nobody' }))).toBe('version')
})

test('only what comes from the version is held against it', () => {
  const faults = (code: string, details?: object) => attribute({ code, message: '', details: details as never })
  for (const code of ['ENTRY_MISSING', 'PROBE_TIMEOUT', 'PROBE_MISMATCH', 'NATIVE_UNLOADABLE'])
    expect(faults(code)).toBe('version')
  expect(faults('NATIVE_UNLOADABLE', { provided: true })).toBe('environment')
  expect(faults('PROBE_MISMATCH', { portHolder: 'unknown' })).toBe('environment')
  for (const code of [
    'PROBE_FOREIGN',
    'PROBE_UNHEARD',
    'RUNTIME_SPAWN_FAILED',
    'PROVIDED_MISSING',
    'PROVIDED_OUT_OF_RANGE',
    'NODE_UNUSABLE',
    'DISK_FULL',
    'ABORTED',
    'INTERNAL',
    'SOMETHING_NEW',
  ])
    expect(faults(code)).toBe('environment')
  expect(attribute({ message: 'no code at all' })).toBe('environment')
})
