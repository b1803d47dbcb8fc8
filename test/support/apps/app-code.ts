/** What an app of the tests does that a good one does not. */
export interface AppBehaviour {
  /** Before it reads anything. */
  readonly first?: string
  /** Names of its tools beside those that all have. */
  readonly tools?: readonly string[]
  /** Does not answer the handshake. */
  readonly hangs?: true
  readonly dieAfterMs?: number
}

/**
 * An MCP server on stdio without dependencies. Its tools: `version`; `facts` (pid, environment, arguments, folder); `wait`,
 * which answers after `ms`; `die`; `keep` and `kept`, a file in its data folder.
 */
export const appCode = (version: string, { first = '', tools = [], hangs, dieAfterMs }: AppBehaviour = {}) => `
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
${first}
const names = ['version', 'facts', 'wait', 'die', 'keep', 'kept', ...${JSON.stringify(tools)}]
const text = (value) => ({ content: [{ type: 'text', text: typeof value === 'string' ? value : JSON.stringify(value) }] })
const performed = {
  version: () => ${JSON.stringify(version)},
  facts: () => ({ pid: process.pid, env: process.env, args: process.argv.slice(2), cwd: process.cwd() }),
  wait: ({ ms }) => new Promise((resolve) => setTimeout(resolve, ms, ${JSON.stringify(version)})),
  die: () => { console.error('Error: asked to die'); process.exit(3) },
  keep: ({ text }) => { writeFileSync('kept', text); return 'kept' },
  kept: () => readFileSync('kept', 'utf8'),
}
const answers = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: { listChanged: true } },
    serverInfo: { name: 'app', version: ${JSON.stringify(version)} },
  }),
  ping: () => ({}),
  'tools/list': () => ({ tools: names.map((name) => ({ name, inputSchema: { type: 'object' } })) }),
  'tools/call': async ({ name, arguments: args }) => text(await (performed[name] ?? (() => name))(args ?? {})),
}
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { id, method, params } = JSON.parse(line)
  if (id === undefined || (${hangs === true} && method === 'initialize')) return
  const answer = answers[method] === undefined
    ? { error: { code: -32601, message: 'unknown' } }
    : await Promise.resolve(answers[method](params ?? {})).then((result) => ({ result }), (error) => ({ error: { code: -32000, message: error.message } }))
  process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, ...answer }) + '\\n')
})
${dieAfterMs === undefined ? '' : `setTimeout(() => { console.error('Error: short of breath'); process.exit(4) }, ${dieAfterMs})`}
`
