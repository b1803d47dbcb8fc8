// `npm run bench [-- --json] [-- --long] [-- NAME...]`: every figure in the README comes from here. Ends with 1 when a goal is missed.
// `--long` adds what takes many minutes. `sessions:memory` is one part of `sessions`.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean' }, long: { type: 'boolean' } },
  allowPositionals: true,
})

// The peers are no dependency of the project; one of them is compiled, which takes its time once.
const here = fileURLToPath(new URL('.', import.meta.url))
if (!existsSync(new URL('./node_modules/better-sqlite3/build', import.meta.url))) {
  console.error('Installing what is compared with …')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts=false', '--no-audit'], {
    cwd: here,
    stdio: ['ignore', 2, 2],
  })
  if (status !== 0) process.exit(status ?? 1)
}

const suites = {
  sends: async () => (await import('./sends.mjs')).sends(),
  replay: async () => (await import('./replay.mjs')).replay(),
  'start-up': async () => (await import('./start-up.mjs')).startUp(),
  staging: async () => (await import('./staging.mjs')).staging(),
  plugins: async (part) => (await import('./plugins.mjs')).plugins({ part }),
  apps: async (part) => (await import('./apps.mjs')).apps({ part }),
  console: async (part) => (await import('./console.mjs')).consolePage({ part }),
  sessions: async (part) => (await import('./sessions.mjs')).sessions({ long: values.long, part }),
}
const wanted = positionals.length > 0 ? positionals : Object.keys(suites)
const unknown = wanted.find((name) => !(name.split(':')[0] in suites))
if (unknown !== undefined) {
  console.error(`There is no benchmark "${unknown}"; there are ${Object.keys(suites).join(', ')}.`)
  process.exit(2)
}

// Node reads this file whenever it starts, which can take longer than all that is measured here (docs/decisions/0025).
delete process.env.NODE_EXTRA_CA_CERTS

const rows = []
for (const name of wanted) {
  if (!values.json) console.error(`${name} …`)
  const [suite, part] = name.split(':')
  rows.push(...(await suites[suite](part)))
}
if (values.json) console.log(JSON.stringify({ rows }, null, 2))
else
  for (const { name, value, unit, peer, ratio, goal, ok } of rows)
    console.log(
      `${ok ? 'ok    ' : 'MISSED'}  ${name.padEnd(50)} ${String(value).padStart(9)} ${unit.padEnd(9)} peer ${String(peer).padStart(9)}  ${String(ratio).padStart(7)} ×   ${goal}`,
    )
process.exitCode = rows.every(({ ok }) => ok) ? 0 : 1
