import { existsSync } from 'node:fs'
import { isBundled, shippedFile } from '../package-info.ts'

/** What Node has no words for; see `native/descriptors.c`. Both throw what the system says against it. */
export interface DescriptorCalls {
  /** Who is at the other end of a connected unix socket. */
  peerUid(fd: number): number
  /** No program that is started gets this descriptor. */
  setCloseOnExec(fd: number): void
}

/** The calls, or why there are none: a sentence for a person. */
export type DescriptorCallsSearch =
  | { readonly calls: DescriptorCalls; readonly path: string; readonly reason: null }
  | { readonly calls: null; readonly path: undefined; readonly reason: string }

let found: DescriptorCallsSearch | undefined

/** Loads them, once. Where there are none, the modes of the socket and of its directory say alone who may connect. */
export function findDescriptorCalls(): DescriptorCallsSearch {
  found ??= load()
  return found
}

function load(): DescriptorCallsSearch {
  // Where `scripts/build-native.mjs` puts it, or a host beside its bundle.
  const path = shippedFile('dist/native/descriptors.node')
  const missing = (reason: string): DescriptorCallsSearch => ({ calls: null, path: undefined, reason })
  if (!existsSync(path))
    return missing(
      isBundled
        ? `There is no ${path}.`
        : `It needs a C compiler (on Debian: apt-get install gcc libc6-dev); then run: node ${shippedFile('scripts/build-native.mjs')}`,
    )
  const module = { exports: {} }
  try {
    // No bundler takes it for something that it should take in, and a bundle for CommonJS has no other way.
    process.dlopen(module, path)
  } catch (error) {
    return missing(`${path} does not load here: ${(error as Error).message}.`)
  }
  return { calls: module.exports as DescriptorCalls, path, reason: null }
}
