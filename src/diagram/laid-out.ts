import type { EdgeKind, MachineDescription } from './describe.ts'

/** A statechart with a place for everything: what `toSvg` draws. Plain JSON; pixels from the top left corner. */
export interface LaidOut {
  readonly description: MachineDescription
  readonly width: number
  readonly height: number
  /** A box before the boxes inside it. */
  readonly boxes: readonly Box[]
  /** The middles of the dots where compound states begin. */
  readonly starts: readonly Point[]
  readonly arrows: readonly Arrow[]
}

export interface Point {
  readonly x: number
  readonly y: number
}

export interface Rectangle extends Point {
  readonly width: number
  readonly height: number
}

export interface Box extends Rectangle {
  readonly id: string
  readonly lines: readonly TextLine[]
}

export interface TextLine {
  /** Words that say what the line is, for the style sheet. */
  readonly style: string
  readonly text: string
  /** The second and later lines of what did not fit into one are drawn a little to the right. */
  readonly continued?: true
  /** The transition that it tells of, where it is one. */
  readonly edge?: string
}

/** One arrow between two states, for every transition that leads from the one to the other. */
export interface Arrow {
  readonly source: string
  readonly target: string
  /** `event` where they are of several kinds. */
  readonly kind: EdgeKind | 'initial'
  /** Ids of the transitions; none for an initial arrow. */
  readonly edges: readonly string[]
  readonly points: readonly Point[]
  readonly label: Label | null
}

export interface Label extends Rectangle {
  readonly lines: readonly TextLine[]
}
