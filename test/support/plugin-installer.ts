// node plugin-installer.js HOME REGISTRY: a controller that installs what it reads from its input, one JSON object per line
// ({ spec, target }), and answers each with what became of it. Ends with its input.
import { createInterface } from 'node:readline'
import { parseConfig } from '../../src/config.ts'
import { openController } from '../../src/controller.ts'
import { errorRecord } from '../../src/errors.ts'

const [home, registry] = process.argv.slice(2) as [string, string]
const controller = await openController({ home, config: parseConfig({ registry }, home), schedule: false })
console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  const { spec, target } = JSON.parse(line) as { spec: string; target: string }
  const result = await controller.plugins
    .install(spec, { target })
    .catch((error) => ({ outcome: 'threw', ...errorRecord(error) }))
  console.log(JSON.stringify(result))
}
await controller.close()
