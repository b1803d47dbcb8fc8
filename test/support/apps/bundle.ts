import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type AppBehaviour, appCode } from './app-code.ts'

const run = promisify(execFile)

// The package does not export its own tool.
const tool = join(dirname(createRequire(import.meta.url).resolve('@anthropic-ai/mcpb')), 'cli', 'cli.js')

/** The official tool: `mcpb pack FOLDER FILE`, `mcpb sign FILE …`. */
export const mcpb = (...args: string[]) => run(process.execPath, [tool, ...args])

export interface BundleOptions {
  readonly behaviour?: AppBehaviour
  /** Replaces fields of the manifest. */
  readonly manifest?: Readonly<Record<string, unknown>>
  /** Replaces fields of its `mcp_config`. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly type?: string
  readonly files?: Readonly<Record<string, { readonly content: string; readonly mode?: number }>>
}

export const bundleManifest = (version: string, { manifest = {}, config = {}, type = 'node' }: BundleOptions = {}) => ({
  manifest_version: '0.3',
  name: 'notes',
  version,
  description: 'Keeps notes.',
  author: { name: 'Somebody' },
  server: {
    type,
    entry_point: 'server/index.mjs',
    mcp_config: { command: 'node', args: ['${__dirname}/server/index.mjs'], ...config },
  },
  ...manifest,
})

/** A bundle of an MCP server of the tests, made by the official tool. Answers with its path. */
export async function bundle(folder: string, version: string, options: BundleOptions = {}): Promise<string> {
  const source = join(folder, `source-${version}`)
  const files: BundleOptions['files'] = {
    'server/index.mjs': { content: appCode(version, options.behaviour) },
    ...options.files,
  }
  for (const [path, { content, mode = 0o644 }] of Object.entries(files)) {
    await mkdir(dirname(join(source, path)), { recursive: true })
    await writeFile(join(source, path), content, { mode })
  }
  await writeFile(join(source, 'manifest.json'), JSON.stringify(bundleManifest(version, options)))
  const file = join(folder, `notes-${version}.mcpb`)
  await mcpb('pack', source, file)
  return file
}
