import { signal } from '@preact/signals'
import { ask, askText } from './api.ts'
import type { Failed, Hello, MachineTold } from './contract.ts'
import { inertDrawing } from './inert-drawing.ts'
import { hello } from './live.ts'

export const machines = signal<readonly MachineTold[] | null>(null)
export const machinesFailure = signal<Failed | null>(null)

/** By whom they were told. */
let teller: Hello | null = null

/** Loads every machine's description, once from each controller that is met: a host's own may be others after a restart. */
export async function loadMachines(): Promise<void> {
  const asked = hello.peek()
  if (asked !== null && asked === teller) return
  teller = asked
  try {
    const told = await ask<readonly MachineTold[]>('/console/machines')
    machines.value = told.map(asKnown)
    machinesFailure.value = null
  } catch (error) {
    teller = null
    machinesFailure.value = error as Failed
  }
}

/** What is as it was stays the same object, with its drawing. */
function asKnown(told: MachineTold): MachineTold {
  const known = machineNamed(told.name)
  if (known !== undefined && JSON.stringify(known) === JSON.stringify(told)) return known
  drawings.delete(told.name)
  return told
}

export function machineNamed(name: string): MachineTold | undefined {
  return machines.value?.find((machine) => machine.name === name)
}

const drawings = new Map<string, Promise<SVGSVGElement>>()

/** A machine's drawing, to be put into the page. Everyone gets one of their own. */
export async function drawingOf(machine: MachineTold): Promise<SVGSVGElement> {
  const { name } = machine
  let drawing = drawings.get(name)
  if (drawing === undefined) {
    drawing = textOf(machine).then(inertDrawing)
    drawings.set(name, drawing)
    drawing.catch(() => drawings.delete(name))
  }
  return (await drawing).cloneNode(true) as SVGSVGElement
}

/** A build has drawn those of Instar; a host's own are drawn here, by an engine that is loaded for the first of them. */
async function textOf({ svg, definition }: MachineTold): Promise<string> {
  if (svg !== null) return askText(svg)
  const { draw } = await import('./draw.ts')
  return draw(definition)
}
