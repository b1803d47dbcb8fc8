import * as z from 'zod'
import { configSchema } from './config.ts'

/** The text of `schema/instar.config.schema.json`. `scripts/config-schema.mjs` writes it; a test finds drift. */
export function configJsonSchema(): string {
  const schema = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' })
  return `${JSON.stringify({ ...schema, title: 'instar.config.json' }, null, 2)}\n`
}
