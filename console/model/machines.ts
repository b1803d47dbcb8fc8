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
export async function drawingOf({ name, svg }: MachineTold): Promise<SVGSVGElement> {
  let drawing = drawings.get(name)
  if (drawing === undefined) {
    drawing = askText(svg).then(inertDrawing)
    drawings.set(name, drawing)
    drawing.catch(() => drawings.delete(name))
  }
  return (await drawing).cloneNode(true) as SVGSVGElement
}
