import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { ResultSchema } from '@modelcontextprotocol/sdk/types.js'
import type { Slot } from './slot.ts'

/** What apps offer, by the field that lists it. */
export type Kind = 'tools' | 'prompts' | 'resources' | 'resourceTemplates'

export const kinds: readonly Kind[] = ['tools', 'prompts', 'resources', 'resourceTemplates']

/** As an app describes it. */
export type Item = Readonly<Record<string, unknown>>

const methods = {
  tools: 'tools/list',
  prompts: 'prompts/list',
  resources: 'resources/list',
  resourceTemplates: 'resources/templates/list',
} as const

const pagesMax = 100

/** What one process offers; asked for when it is wanted, and again when it says that it is another. */
export class Catalog {
  private readonly lists = new Map<Kind, Promise<readonly Item[]>>()

  constructor(private readonly client: Client) {}

  list(kind: Kind): Promise<readonly Item[]> {
    const known = this.lists.get(kind)
    if (known !== undefined) return known
    const asked = this.ask(kind)
    this.lists.set(kind, asked)
    // A failure is no list.
    asked.catch(() => this.lists.delete(kind))
    return asked
  }

  /** What it has said may be another: `notifications/tools/list_changed`. */
  forget(method: string): void {
    const [, changed] = /^notifications\/(tools|prompts|resources)\/list_changed$/.exec(method) ?? []
    if (changed === undefined) return
    this.lists.delete(changed as Kind)
    if (changed === 'resources') this.lists.delete('resourceTemplates')
  }

  private async ask(kind: Kind): Promise<readonly Item[]> {
    const offered = this.client.getServerCapabilities()
    if (offered?.[kind === 'resourceTemplates' ? 'resources' : kind] === undefined) return []
    const items: Item[] = []
    let cursor: string | undefined
    for (let page = 0; page < pagesMax; page += 1) {
      const params = cursor === undefined ? {} : { cursor }
      const answer = await this.client.request({ method: methods[kind], params }, ResultSchema)
      items.push(...((answer[kind] as Item[] | undefined) ?? []))
      cursor = answer.nextCursor as string | undefined
      if (cursor === undefined) break
    }
    return items
  }
}

/** One thing that is offered, and by whom. */
export interface Listed {
  readonly app: string
  readonly slot: Slot
  readonly item: Item
}

/** Under which name each is shown: its own, unless another app has the same. */
export function shownNames(listed: readonly Listed[]): Map<string, Listed> {
  const counts = new Map<unknown, number>()
  for (const { item } of listed) counts.set(item.name, (counts.get(item.name) ?? 0) + 1)
  const shown = new Map<string, Listed>()
  for (const one of listed) {
    const own = String(one.item.name)
    const name = counts.get(one.item.name) === 1 ? own : `${prefixOf(one.app)}__${own}`
    // Two apps may still come to one prefix: letters that a name may not hold are all shown alike.
    let free = name
    for (let count = 2; shown.has(free); count += 1) free = `${name}_${count}`
    shown.set(free, one)
  }
  return shown
}

const prefixOf = (app: string) => app.replace(/^@/, '').replace(/[^A-Za-z0-9_-]/g, '_')
