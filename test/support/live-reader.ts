import { readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

/** What a reader has seen. */
export interface Readings {
  /** Rounds through all files. */
  readonly looks: number
  /** Files that were opened through the live path or through what it led to. */
  readonly reads: number
  /** How often the live path was found to lead to another tree than before. */
  readonly changes: number
  /** Reads that found nothing, or less than there must be: what they said, at most ten. */
  readonly failures: readonly string[]
  readonly failed: number
  /** Rounds in which files of one tree did not agree with each other. */
  readonly mixtures: number
}

interface Task {
  readonly live: string
  readonly files: readonly string[]
  /** Set to 1 when it is over; the second counts looks. */
  readonly shared: SharedArrayBuffer
}

/**
 * Opens files below a live path in a tight loop, in a thread of its own, and waits for nothing: each file through the live
 * path, which must always be there, and then all of them in the one folder that it leads to, where they must agree. All of
 * them hold the same text in one version.
 */
export class LiveReader {
  private constructor(
    private readonly worker: Worker,
    private readonly shared: Int32Array,
    private readonly readings: Promise<Readings>,
  ) {}

  /** @param compiled This file, as JavaScript. */
  static async start(compiled: string, live: string, files: readonly string[]): Promise<LiveReader> {
    const shared = new SharedArrayBuffer(8)
    const task: Task = { live, files, shared }
    const worker = new Worker(compiled, { workerData: { liveReader: task } })
    const readings = new Promise<Readings>((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })
    readings.catch(() => {}) // told by `stop`
    const reader = new LiveReader(worker, new Int32Array(shared), readings)
    while (reader.looks === 0) await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), readings])
    return reader
  }

  /** So far. */
  get looks(): number {
    return Atomics.load(this.shared, 1)
  }

  async stop(): Promise<Readings> {
    Atomics.store(this.shared, 0, 1)
    const readings = await this.readings
    await this.worker.terminate()
    return readings
  }
}

function read({ live, files, shared }: Task): Readings {
  const state = new Int32Array(shared)
  const failures: string[] = []
  let [looks, reads, changes, failed, mixtures, last] = [0, 0, 0, 0, 0, '']
  const attempt = <T>(work: () => T): T | null => {
    try {
      return work()
    } catch (error) {
      failed += 1
      if (failures.length < 10) failures.push((error as Error).message)
      return null
    }
  }
  const content = (folder: string, file: string) =>
    attempt(() => {
      reads += 1
      const text = readFileSync(join(folder, file), 'utf8')
      if (text === '') throw new Error(`${file} is empty`)
      return text
    })
  while (Atomics.load(state, 0) === 0) {
    for (const file of files) content(live, file)
    const real = attempt(() => realpathSync(live))
    if (real !== null) {
      if (real !== last) changes += 1
      last = real
      const texts = files.map((file) => content(real, file))
      if (new Set(texts).size > 1) mixtures += 1
    }
    looks += 1
    Atomics.store(state, 1, looks)
  }
  return { looks, reads, changes, failures, failed, mixtures }
}

if (!isMainThread && parentPort !== null && workerData?.liveReader !== undefined)
  parentPort.postMessage(read(workerData.liveReader as Task))
