import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readNpmConfig } from '../../src/packages/npm-config.ts'
import { accessRegistry } from '../../src/packages/registry-access.ts'
import { failure, scratch } from './support.ts'

/** A machine of our own: a global file, a user and a project. */
async function machine(files: { global?: string; user?: string; project?: string }, env: NodeJS.ProcessEnv = {}) {
  await using directory = await scratch()
  const { path } = directory
  await mkdir(join(path, 'etc'))
  await mkdir(join(path, 'project'))
  if (files.global !== undefined) await writeFile(join(path, 'etc/npmrc'), files.global)
  if (files.user !== undefined) await writeFile(join(path, '.npmrc'), files.user)
  if (files.project !== undefined) await writeFile(join(path, 'project/.npmrc'), files.project)
  return await readNpmConfig({ home: path, directory: join(path, 'project'), env: { PREFIX: path, ...env } })
}

test('project wins over user, user over global, and the environment over all', async () => {
  const files = { global: 'registry=https://global.example/', user: 'registry = "https://user.example/"' }
  expect(await machine({ global: files.global })).toEqual({ registry: 'https://global.example/' })
  expect(await machine(files)).toEqual({ registry: 'https://user.example/' })
  const all = { ...files, project: 'registry=https://project.example/' }
  expect(await machine(all)).toEqual({ registry: 'https://project.example/' })
  expect(await machine(all, { NPM_CONFIG_REGISTRY: 'https://env.example/' })).toEqual({
    registry: 'https://env.example/',
  })
  expect(await machine(all, { npm_config_registry: '' })).toEqual({ registry: 'https://project.example/' })
})

test('without a directory no project is looked at', async () => {
  await using directory = await scratch()
  await writeFile(join(directory.path, '.npmrc'), 'registry=https://user.example/')
  expect(await readNpmConfig({ home: directory.path, env: { PREFIX: directory.path } })).toEqual({
    registry: 'https://user.example/',
  })
})

test('scopes, credentials, proxies and comments are read as npm reads them; the rest is left alone', async () => {
  const user = [
    '; a comment',
    '# another',
    '@scope:registry=https://scope.example/npm/',
    '//scope.example/npm/:_authToken=${TOKEN}',
    '//other.example/:_auth=dXNlcjpwYXNz ; trailing',
    'https-proxy=http://proxy.example:8080',
    'strict-ssl=false',
    'fund=false',
    'nonsense without a value',
  ].join('\n')
  expect(await machine({ user }, { TOKEN: 'secret', 'npm_config_//third.example/:_authToken': 'Mixed_Case' })).toEqual({
    '@scope:registry': 'https://scope.example/npm/',
    '//scope.example/npm/:_authToken': 'secret',
    '//other.example/:_auth': 'dXNlcjpwYXNz',
    '//third.example/:_authToken': 'Mixed_Case',
    'https-proxy': 'http://proxy.example:8080',
    'strict-ssl': false,
  })
})

test('a variable that is not set stays as written, unless it is marked optional', async () => {
  expect(await machine({ user: '//a.example/:_authToken=${NOT_SET}\n//b.example/:_authToken=x${NOT_SET?}' })).toEqual({
    '//a.example/:_authToken': '${NOT_SET}',
    '//b.example/:_authToken': 'x',
  })
})

test('certificates come from the file that npm is given', async () => {
  await using directory = await scratch()
  const one = (name: string) => `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----`
  await writeFile(join(directory.path, 'ca.pem'), `${one('first')}\n${one('second')}\n`)
  const env = { PREFIX: directory.path, npm_config_cafile: join(directory.path, 'ca.pem') }
  expect(await readNpmConfig({ home: directory.path, env })).toEqual({ ca: [one('first'), one('second')] })
})

test('a configuration that is there and cannot be read is an error, not an empty one', async () => {
  await using directory = await scratch()
  await mkdir(join(directory.path, '.npmrc'))
  const reading = readNpmConfig({ home: directory.path, env: { PREFIX: directory.path } })
  expect((await failure(reading)).code).toBe('CONFIG_UNREADABLE')
})

test('a scope has its own registry, and an explicit registry wins over both', async () => {
  const npm = { registry: 'https://all.example', '@scope:registry': 'https://scope.example/npm' }
  expect((await accessRegistry('tool', { npm })).url).toBe('https://all.example/')
  expect((await accessRegistry('@scope/tool', { npm })).url).toBe('https://scope.example/npm/')
  expect((await accessRegistry('@scope/tool', { npm, registry: 'http://127.0.0.1:4873' })).url).toBe(
    'http://127.0.0.1:4873/',
  )
})

test('credentials go to their own origin only: scheme, host and port', async () => {
  const npm = {
    registry: 'https://all.example/npm/',
    '//all.example/npm/:_authToken': 'secret',
    '//cdn.example/:_authToken': 'never',
  }
  const access = await accessRegistry('tool', { npm, origins: ['https://cdn.example'] })
  const sent = (url: string) => access.authorization(new URL(url)).authorization
  expect(sent('https://all.example/npm/tool')).toBe('Bearer secret')
  expect(sent('https://all.example/elsewhere/tool.tgz')).toBe('Bearer secret')
  expect(sent('http://all.example/npm/tool')).toBeUndefined()
  expect(sent('https://all.example:8443/npm/tool')).toBeUndefined()
  expect(sent('https://cdn.example/tool.tgz')).toBeUndefined()
  expect(access.trusts(new URL('https://cdn.example/tool.tgz'))).toBe(true)
  expect(access.trusts(new URL('http://all.example/tool.tgz'))).toBe(false)
})

test.each(['not a url', 'ftp://host/', 'https://user:pass@host/', 'https://host/?query'])(
  'a registry like %s is CONFIG_INVALID',
  async (registry) => {
    expect((await failure(accessRegistry('tool', { npm: {}, registry }))).code).toBe('CONFIG_INVALID')
  },
)
