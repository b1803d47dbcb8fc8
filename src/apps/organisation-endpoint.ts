import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import * as z from 'zod'
import { errorRecord } from '../errors.ts'
import { packageVersion } from '../package-info.ts'
import { isElsewhere, isPath } from '../packages/spec.ts'
import type { Endpoint } from './endpoints.ts'

/** What an organisation's apps are managed by. */
export interface Managing {
  list(): Promise<unknown>
  check(name: string | undefined, asked: { signal: AbortSignal }): Promise<unknown>
  upgrade(name: string, asked: { to?: string | undefined; signal: AbortSignal }): Promise<unknown>
}

const input = {
  action: z.enum(['list', 'check_updates', 'upgrade']),
  app: z.string().min(1).max(214).optional().describe('Its package. Needed to upgrade; without it all are checked.'),
  version: z
    .string()
    .min(1)
    .max(256)
    // What a registry has published is for whoever manages; what else may run here is for a person.
    .refine((version) => !isPath(version) && !isElsewhere(version), 'must be one that a registry has')
    .optional()
    .describe('A dist-tag, a range or an exact version; the latest if absent.'),
}

/** An MCP server with one tool, `manage_apps`, for whoever looks after the apps of an organisation. */
export class OrganisationEndpoint implements Endpoint {
  private readonly server = new McpServer({ name: 'instar', version: packageVersion })

  constructor(apps: Managing) {
    const description = "Lists the organisation's apps, looks for newer versions, and upgrades one in every workspace."
    this.server.registerTool('manage_apps', { description, inputSchema: input }, async (asked, { signal }) => {
      try {
        return told(await perform(apps, asked, signal))
      } catch (error) {
        const { code, message, hint } = errorRecord(error)
        return { ...told({ code, message, hint }), isError: true }
      }
    })
  }

  async connect(transport: Transport): Promise<void> {
    const over = new Promise<void>((resolve) => {
      this.server.server.onclose = resolve
    })
    await this.server.connect(transport)
    await over
  }

  close(): Promise<void> {
    return this.server.close()
  }
}

interface AskedOf {
  readonly action: 'list' | 'check_updates' | 'upgrade'
  readonly app?: string | undefined
  readonly version?: string | undefined
}

async function perform(apps: Managing, { action, app, version }: AskedOf, signal: AbortSignal): Promise<object> {
  if (action === 'list') return { apps: await apps.list() }
  if (action === 'check_updates') return { apps: await apps.check(app, { signal }) }
  if (app === undefined) return { code: 'USAGE', message: 'which app is to be upgraded?' }
  return (await apps.upgrade(app, { to: version, signal })) as object
}

const told = (value: object) => ({ content: [{ type: 'text' as const, text: JSON.stringify(value) }] })
