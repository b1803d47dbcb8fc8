// Writes schema/instar.config.schema.json from the schema in src/config.ts, so that editors complete the configuration.
import { mkdir, writeFile } from 'node:fs/promises'
import { configJsonSchema } from '../dist/src/config-json-schema.js'

const file = new URL('../schema/instar.config.schema.json', import.meta.url)
await mkdir(new URL('.', file), { recursive: true })
await writeFile(file, configJsonSchema())
