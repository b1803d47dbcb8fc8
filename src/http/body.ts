import type { IncomingMessage } from 'node:http'
import { InstarError } from '../errors.ts'
import { Refused } from './route.ts'

/**
 * The JSON that a request brings; an empty object where it brings nothing.
 *
 * @throws {Refused} 413, 415, and 400 for what is not JSON.
 */
export async function readJson(request: IncomingMessage, bytesMax: number): Promise<unknown> {
  const parts: Buffer[] = []
  let bytes = 0
  // The connection is still needed for the answer.
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > bytesMax)
      throw new Refused(413, new InstarError('CONTROL_TOO_LARGE', `a request may have ${bytesMax} bytes`))
    parts.push(part)
  }
  if (bytes === 0) return {}
  // A form of another site can send anything but this without asking first.
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new Refused(415, new InstarError('PARAMETERS_INVALID', 'a request brings application/json'))
  try {
    return JSON.parse(Buffer.concat(parts).toString())
  } catch (cause) {
    throw new Refused(400, new InstarError('PARAMETERS_INVALID', 'what the request brings is no JSON', { cause }))
  }
}
