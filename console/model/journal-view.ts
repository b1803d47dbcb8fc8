import { computed, signal } from '@preact/signals'
import type { RecordTold } from './contract.ts'
import { records, runs } from './live.ts'
import { machineOf, type Verdict, verdictOf } from './runs.ts'

/** What of the journal is looked at, and where. Kept while other pages are shown. */

export interface Filter {
  readonly run: string
  readonly machine: string
  readonly verdict: Verdict | ''
  readonly text: string
}

const everything: Filter = { run: '', machine: '', verdict: '', text: '' }

export const filter = signal<Filter>(everything)

/** The number of the record that is looked at; null where the newest is followed. */
export const selected = signal<number | null>(null)

export const shown = computed(() => {
  const { run, machine, verdict, text } = filter.value
  const all = records.value
  if (filter.value === everything) return all
  const known = runs.value
  const word = text.toLowerCase()
  return all.filter((record) => {
    if (run !== '' && record.run !== run) return false
    if (machine !== '' && machineOf(record) !== machine) return false
    if (verdict !== '' && verdictOf(known.get(record.run)!) !== verdict) return false
    return word === '' || matches(record, word)
  })
})

const matches = ({ run, key, event }: RecordTold, word: string) =>
  [run, key ?? '', event.type].some((text) => text.toLowerCase().includes(word))

/** The place of the record that is looked at among those that are shown; the last before it where it is not. */
export const place = computed(() => {
  const list = shown.value
  if (selected.value === null) return list.length - 1
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (list[middle]!.seq <= selected.value) low = middle + 1
    else high = middle
  }
  return low - 1
})

export const current = computed<RecordTold | undefined>(() => shown.value[place.value])

export function select(index: number): void {
  const record = shown.peek()[index]
  if (record !== undefined) selected.value = record.seq
}

export function narrow(change: Partial<Filter>): void {
  const next = { ...filter.peek(), ...change }
  const isAll = Object.values(next).every((value) => value === '')
  filter.value = isAll ? everything : next
}
