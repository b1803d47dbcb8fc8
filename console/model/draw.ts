import Elk from 'elkjs/lib/elk-api.js'
import engineUrl from 'elkjs/lib/elk-worker.min.js?url'
import type { MachineDescription } from '../../src/diagram/describe.ts'
import { layout } from '../../src/diagram/layout.ts'
import type { LayoutEngine } from '../../src/diagram/place.ts'
import { toSvg, withoutStyle } from '../../src/diagram/svg.ts'
import { Refusal } from './api.ts'

/** A machine of ours takes less than two seconds. */
const withinMs = 60_000

/**
 * Draws a statechart here, as a build draws those of this package. The layout engine, 1.6 MB that computes for seconds, works
 * beside the page and ends with the drawing.
 *
 * @throws {Refusal} `DIAGRAM_FAILED`
 */
export async function draw(description: MachineDescription): Promise<string> {
  const worker = new Worker(engineUrl)
  let late: ReturnType<typeof setTimeout> | undefined
  const failed = new Promise<never>((_, reject) => {
    worker.onerror = () => reject(new Error('the layout engine cannot be loaded, or failed'))
    late = setTimeout(() => reject(new Error('no layout was found in a minute')), withinMs)
  })
  try {
    const engine = new (Elk as unknown as ElkConstructor)({ workerFactory: () => worker })
    const laidOut = await Promise.race([layout(description, engine), failed])
    return withoutStyle(toSvg(laidOut, { title: `Statechart of ${description.id}` }))
  } catch (error) {
    throw new Refusal(0, 'DIAGRAM_FAILED', (error as Error).message, 'The statechart in words says the same.')
  } finally {
    clearTimeout(late)
    worker.terminate()
  }
}

type ElkConstructor = new (options: { workerFactory(): Worker }) => LayoutEngine
