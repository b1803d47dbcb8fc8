// npm's own modules that come without types: only what we call.

declare module '@npmcli/agent' {
  import type { Agent } from 'node:http'

  interface AgentOptions {
    readonly proxy?: string
    readonly noProxy?: string
    readonly ca?: string | readonly string[]
    readonly cert?: string
    readonly key?: string
    readonly rejectUnauthorized?: boolean
    readonly keepAlive?: boolean
  }

  const module: { getAgent(url: string, options: AgentOptions): Agent }
  export default module
}

declare module 'ini' {
  const module: { parse(text: string): unknown }
  export default module
}

declare module 'npm-pick-manifest' {
  const pickManifest: (packument: unknown, wanted: string, options: { readonly nodeVersion: string | null }) => unknown
  export default pickManifest
}
