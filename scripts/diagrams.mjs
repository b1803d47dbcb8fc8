// Draws every machine into diagrams/: NAME.json (what it is), NAME.mmd (Mermaid) and NAME.svg. With --check it writes
// nothing and fails where a drawing is not what its machine would give now.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import Elk from 'elkjs/lib/elk.bundled.js'
import { machines } from '../dist/machines/index.js'
import { describeMachine } from '../dist/src/diagram/describe.js'
import { layout } from '../dist/src/diagram/layout.js'
import { toMermaid } from '../dist/src/diagram/mermaid.js'
import { toSvg } from '../dist/src/diagram/svg.js'

const { values } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    folder: { type: 'string', default: fileURLToPath(new URL('../diagrams', import.meta.url)) },
  },
})

const wanted = new Map()
for (const [name, machine] of Object.entries(machines)) {
  const description = describeMachine(machine)
  wanted.set(`${name}.json`, `${JSON.stringify(description, null, 2)}\n`)
  wanted.set(`${name}.mmd`, toMermaid(description))
  wanted.set(`${name}.svg`, toSvg(await layout(description, new Elk()), { title: `Statechart of ${name}` }))
}

await mkdir(values.folder, { recursive: true })
const present = await readdir(values.folder)
const superfluous = present.filter((file) => /\.(json|mmd|svg)$/.test(file) && !wanted.has(file))
const stale = []
for (const [file, text] of wanted) {
  const found = present.includes(file) ? await readFile(join(values.folder, file), 'utf8') : null
  if (found !== text) stale.push(file)
}

if (values.check) {
  for (const file of stale) console.error(`${file} is not what its machine gives now`)
  for (const file of superfluous) console.error(`${file} belongs to no machine`)
  if (stale.length + superfluous.length > 0) {
    console.error('Run `npm run diagrams` and commit what it writes.')
    process.exitCode = 1
  }
} else {
  for (const file of stale) await writeFile(join(values.folder, file), wanted.get(file))
  for (const file of superfluous) await rm(join(values.folder, file))
  console.error(`${wanted.size} files, ${stale.length} written, ${superfluous.length} removed`)
}
