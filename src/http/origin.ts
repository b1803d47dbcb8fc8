import type { IncomingMessage } from 'node:http'

/**
 * Whether a request is meant for us and comes from no other site. A page of another site can make a browser send requests
 * here, and a name that it controls can lead here (DNS rebinding); what it cannot do is to choose these headers.
 *
 * @see Fetch Metadata Request Headers: `Sec-Fetch-Site` is sent also where `Origin` is not.
 */
export function isFromOurselves({ headers }: IncomingMessage, port: number): boolean {
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`]
  const { host, origin, 'sec-fetch-site': site } = headers
  if (host === undefined || !hosts.includes(host.toLowerCase())) return false
  if (origin !== undefined && origin !== `http://${host.toLowerCase()}`) return false
  return site === undefined || site === 'same-origin' || site === 'none'
}
