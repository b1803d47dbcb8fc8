import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import npmFetch from 'npm-registry-fetch'
import { readNpmConfig } from '../../src/packages/npm-config.ts'

/** The registry that npm is configured to use here, through a server of our own that counts what is downloaded. */
export interface RegistryRelay extends AsyncDisposable {
  readonly url: string
  /** Paths of the tarballs that were asked for, in order. */
  readonly tarballs: readonly string[]
}

export async function relayRegistry(): Promise<RegistryRelay> {
  const settings = { ...(await readNpmConfig()) }
  const origin = npmFetch.pickRegistry('any', settings).replace(/\/$/, '')
  const tarballs: string[] = []
  const server = createServer(async (request, response) => {
    const path = request.url!
    if (path.endsWith('.tgz')) tarballs.push(path)
    try {
      const { accept = '*/*' } = request.headers
      const answer = await npmFetch(path, { ...settings, headers: { accept } })
      const type = answer.headers.get('content-type') ?? 'application/octet-stream'
      const body = await answer.buffer()
      response.writeHead(answer.status, { 'content-type': type })
      // What it offers is to be asked for here, too.
      response.end(type.includes('json') ? body.toString('utf8').replaceAll(origin, own()) : body)
    } catch (error) {
      response.writeHead(502).end((error as Error).message)
    }
  })
  const own = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: own(),
    tarballs,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
