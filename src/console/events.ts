import type { IncomingMessage, ServerResponse } from 'node:http'
import { machines } from '../../machines/index.ts'
import { errorRecord, InstarError } from '../errors.ts'
import type { HttpLimits } from '../http/limits.ts'
import type { Area } from '../http/route.ts'
import type { TokenGate } from '../http/token-gate.ts'
import { packageVersion } from '../package-info.ts'
import { Audience } from './audience.ts'
import { EventStream } from './event-stream.ts'
import { eventText } from './event-text.ts'
import { RecordReader } from './record-reader.ts'
import type { Shown } from './shown.ts'

/** How soon a page that has lost its connection comes again. */
const retryMs = 500

/**
 * What happens, as server-sent events: `hello`, `status`, `record`, `progress`, `notice`, `alive`. The id of an event is
 * the number of a record, so that a page that comes again by it misses none and is told none twice.
 *
 * The owner of the home is told everything; others are told of the apps.
 */
export function eventsArea(
  controller: Shown,
  gate: TokenGate,
  { streams: streamsMax, takeMs }: HttpLimits,
  log: (message: string) => void,
): Area {
  const asked = { action: 'see the console' }
  const streams = new Map<EventStream, IncomingMessage>()
  const ended = new Set<Promise<void>>()
  let audience: Audience | null = null
  const unfollow = gate.onLeave(() => {
    for (const [stream, request] of streams) if (gate.guest(request) === undefined) stream.end()
  })

  async function tell(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isOwner = gate.guest(request) === null
    audience ??= new Audience(controller)
    const own = audience
    const history = (range: { from: number }) => controller.history(range)
    const records = isOwner ? new RecordReader(firstWanted(request), own.newest, history) : null
    const stream = new EventStream(response, records, takeMs)
    const listener = { stream, isOwner }
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write(`retry: ${retryMs}\n\n${eventText('hello', helloOf(controller))}`)
    streams.set(stream, request)
    own.add(listener)
    try {
      await stream.run()
    } catch (error) {
      log(`console: ${errorRecord(error).message}`)
    } finally {
      streams.delete(stream)
      own.remove(listener)
      if (own.size === 0) {
        own.stop()
        audience = null
      }
    }
  }

  return {
    routes: [
      {
        path: /^\/console\/events$/,
        methods: ['GET'],
        async handle(request, response) {
          await gate.admit(request, asked)
          if (streams.size >= streamsMax) throw new InstarError('CONTROLLER_BUSY', `${streamsMax} pages listen already`)
          const told = tell(request, response)
          ended.add(told)
          await told.finally(() => ended.delete(told))
        },
      },
    ],
    async close() {
      unfollow()
      for (const stream of streams.keys()) stream.end()
      await Promise.all(ended)
    },
  }
}

function helloOf({ home, journal, procedures }: Shown) {
  const named = [procedures.machines, machines].flatMap((known) => Object.keys(known))
  return { version: packageVersion, home, lastSeq: journal.lastSeq, machines: named }
}

/** The first record that a page wants; null where it does not say. */
function firstWanted({ headers, url = '' }: IncomingMessage): number | null {
  const last = numberIn(headers['last-event-id'])
  return last === null ? numberIn(new URL(url, 'http://console').searchParams.get('from')) : last + 1
}

const numberIn = (text: unknown) => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : null)
