import { signal } from '@preact/signals'
import { ask, askText } from './api.ts'
import type { Failed, MachineTold } from './contract.ts'
import { inertDrawing } from './inert-drawing.ts'

export const machines = signal<readonly MachineTold[] | null>(null)
export const machinesFailure = signal<Failed | null>(null)

let loading: Promise<void> | null = null

/** Loads every machine's description, once. */
export function loadMachines(): Promise<void> {
  loading ??= ask<readonly MachineTold[]>('/console/machines').then(
    (told) => {
      machines.value = told
      machinesFailure.value = null
    },
    (error) => {
      loading = null
      machinesFailure.value = error as Failed
    },
  )
  return loading
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
