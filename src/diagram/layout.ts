import type { MachineDescription } from './describe.ts'
import type { LaidOut, Point } from './laid-out.ts'
import { type LayoutEngine, place } from './place.ts'
import { type Route, reached, routesOf } from './routes.ts'

/** Pixels: what the README of a repository shows without shrinking it. */
const pageWidth = 880
/** Pixels: a longer arrow is more work to follow than a name is to look up. */
const arrowLengthMax = 900
/** Pixels: a shorter arrow is drawn in any case. */
const arrowLengthMin = 320

/**
 * Lays the statechart out from top to bottom. Deterministic: the same description gives the same drawing, byte for byte.
 *
 * Where the drawing would be wider than a page, or hold an arrow that no eye follows, the longest arrows are not drawn;
 * their transitions are lines in the box of their source instead (`stop → stopped`). Whatever can be reached from the
 * beginning can still be reached along arrows.
 *
 * Takes seconds, and an instance of elkjs: for a build, or a worker beside a page.
 */
export async function layout(description: MachineDescription, engine: LayoutEngine): Promise<LaidOut> {
  let routes = routesOf(description)
  let best = await place(description, routes, engine)
  for (let laidOut = best; effort(laidOut) > 0; ) {
    const fewer = withoutLongest(routes, laidOut)
    if (fewer.length === routes.length) break
    routes = fewer
    laidOut = await place(description, routes, engine)
    if (effort(laidOut) < effort(best)) best = laidOut
  }
  return best
}

/** What a drawing asks of its reader beyond the reasonable. */
function effort({ width, arrows }: LaidOut): number {
  const longest = Math.max(0, ...arrows.map(({ points }) => lengthOf(points)))
  return Math.max(0, width - pageWidth) + Math.max(0, longest - arrowLengthMax) / 4
}

function withoutLongest(routes: readonly Route[], { description, arrows }: LaidOut): Route[] {
  // The arrows of a drawing stand in the order of its routes.
  const lengths = new Map(routes.map((route, index) => [route, lengthOf(arrows[index]!.points)]))
  // The dot of a beginning and the circle of a history have no room for lines.
  const bound = new Set(['initial', 'default'])
  const long = routes.filter((route) => !bound.has(route.kind) && lengths.get(route)! > arrowLengthMin)
  long.sort((one, other) => lengths.get(other)! - lengths.get(one)!)
  const needed = reached(routes, description).size
  let left = [...routes]
  for (const route of long) {
    if (routes.length - left.length >= long.length / 5) break // a few at a time: what is left may fall into place
    const fewer = left.filter((other) => other !== route)
    if (reached(fewer, description).size === needed) left = fewer
  }
  return left
}

function lengthOf(points: readonly Point[]): number {
  return points.slice(1).reduce((length, { x, y }, index) => {
    const from = points[index]!
    return length + Math.abs(x - from.x) + Math.abs(y - from.y)
  }, 0)
}
