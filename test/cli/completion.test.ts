import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Command as Commander } from 'commander'
import { expect, test } from 'vitest'
import { buildProgram } from '../../src/cli/program.ts'
import { run, temporary } from '../support/instar.ts'

let script: Promise<{ stdout: string }> | undefined

/** What bash offers for the last word of a line, with the script really sourced. */
async function completed(...words: string[]): Promise<string[]> {
  const folder = await temporary()
  script ??= run(['completion', 'bash'])
  await writeFile(join(folder, 'completion.bash'), (await script).stdout)
  const quoted = ['instar', ...words].map((word) => `'${word}'`).join(' ')
  const ask = `source completion.bash; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _instar; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout } = await promisify(execFile)('bash', ['--norc', '-eu', '-c', ask], { cwd: folder })
  return stdout.split('\n').filter((line) => line !== '')
}

test('bash completes areas, verbs and options', async () => {
  expect(await completed('')).toEqual(
    expect.arrayContaining(['up', 'status', 'doctor', 'runtime', 'journal', 'machine']),
  )
  expect(await completed('run')).toEqual(['runtime'])
  expect(await completed('runtime', 'ro')).toEqual(['rollback'])
  expect(await completed('journal', 'tail', '--f')).toEqual(['--follow', '--from'])
  expect(await completed('completion', '')).toEqual(['bash', 'zsh', 'fish'])
  expect(await completed('daemon', 'st')).toEqual(['status', 'start', 'stop'])
  expect(await completed('daemon', 'stop', '--y')).toEqual(['--yes'])
  expect(await completed('session', 're')).toEqual(['read', 'resize'])
  expect(await completed('session', 'attach', 'one', '--de')).toEqual(['--detach-key'])
})

test('global options on the way do not confuse bash, and neither do their values', async () => {
  expect(await completed('--json', '--home', 'runtime', 'journal', 'ver')).toEqual(['verify'])
  expect(await completed('runtime', 'ban', '--reason', '')).toEqual([])
  expect(await completed('--config', 'compl')).toEqual(['completion.bash'])
})

test('after the name of a runtime, and after --, bash offers nothing', async () => {
  expect(await completed('runtime', 'check', 'kanban', '')).toEqual([])
  expect(await completed('runtime', 'launch', 'kanban', '--', '--h')).toEqual([])
  expect(await completed('session', 'open', '--id', 'x', '--', '--h')).toEqual([])
})

/** What can follow each command, read from the command line itself: `runtime check` -> ['--json', …]. */
function placesOf(command: Commander, path: readonly string[] = []): [place: string, words: string[]][] {
  const commands = command.commands.filter((child) => child.name() !== 'help')
  const options = command.options.filter(({ hidden }) => !hidden).map(({ long, short }) => long ?? short!)
  return [
    [path.join(' '), [...commands.map((child) => child.name()), ...options]],
    ...commands.flatMap((child) => placesOf(child, [...path, child.name()])),
  ]
}

test('every command and every option of the command line is in each script, at its place', async () => {
  const program = buildProgram(() => async () => {})
  const places = placesOf(program)
  expect(places.length).toBeGreaterThan(40)
  const globals = places[0]![1].filter((word) => word.startsWith('--'))
  const scripts = new Map<string, string[]>()
  for (const shell of ['bash', 'zsh', 'fish']) scripts.set(shell, (await run(['completion', shell])).stdout.split('\n'))
  const offered: Record<string, (place: string) => string[]> = {
    bash: (place) => wordsIn(scripts.get('bash')!.filter((line) => line.startsWith(`    '${place}') words=`))),
    zsh: (place) => wordsIn(scripts.get('zsh')!.filter((line) => line.startsWith(`    '${place}') found=`))),
    fish: (place) =>
      scripts
        .get('fish')!
        .filter((line) => line.includes(`(__instar_place) = "${place}"`))
        .map((line) => / -a '([^']+)'/.exec(line)?.[1] ?? `--${/ -l (\S+)/.exec(line)?.[1]}`),
  }
  for (const [shell, at] of Object.entries(offered))
    for (const [place, words] of places)
      expect(at(place), `${shell}: ${place}`).toEqual(expect.arrayContaining([...words, ...globals]))
})

const wordsIn = (lines: readonly string[]) => lines.flatMap((line) => line.match(/(?<=[ '(])[\w-]+(?=[ ':)])/g) ?? [])
