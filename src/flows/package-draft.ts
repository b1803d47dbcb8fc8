import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Offer } from '../../machines/index.ts'
import { flushTree } from '../disk.ts'
import { diskError, InstarError } from '../errors.ts'
import type { SignaturePolicy } from '../packages/verify-signatures.ts'
import type { Draft } from '../releases/draft.ts'

/** What an npm package goes through in a draft, whatever it is for. The registry side is imported when needed: it is large. */

/** Where a draft has what was downloaded. */
export const tarballIn = (draft: { readonly scratch: string }) => join(draft.scratch, 'package.tgz')

/** What `fetchTarball` and `verifySignatures` want beyond an offer is only for conditional questions. */
const conditional = <Offered extends object>(offer: Offered) => ({ ...offer, etag: null })

/** Empties a draft and fills it by `work`; when that fails nothing of the draft is left. */
export async function filling<T>(draft: Draft, work: () => Promise<T>): Promise<T> {
  try {
    await draft.reset()
    return await work()
  } catch (error) {
    await draft.discard()
    throw error
  }
}

/** Downloads into an empty draft. */
export async function download(
  draft: Draft,
  offer: Omit<Offer, 'engines'>,
  { signal, progress }: { signal: AbortSignal; progress: (data: unknown) => void },
): Promise<void> {
  const { fetchTarball } = await import('../packages/fetch-tarball.ts')
  await fetchTarball(conditional({ engines: {}, ...offer }), {
    file: tarballIn(draft),
    signal,
    onProgress: (seen) => progress({ phase: 'fetching', version: offer.version, ...seen }),
  })
}

/** Signatures, the download's digest, the unpacked tree. What package that is, is for the caller to read. */
export async function unpackChecked(
  draft: Draft,
  offer: Omit<Offer, 'engines'>,
  { signatures, signal }: { signatures: SignaturePolicy; signal: AbortSignal },
): Promise<void> {
  const { verifySignatures } = await import('../packages/verify-signatures.ts')
  await verifySignatures(conditional({ engines: {}, ...offer }), { policy: signatures, signal })
  if ((await integrityOf(tarballIn(draft))) !== offer.integrity)
    // The download was checked as it came; a power cut since then can have taken some of it. That is nobody's fault.
    throw new InstarError('RELEASE_INCOMPLETE', `what was downloaded of ${offer.version} is no longer whole`)
  await unpackAgain(draft, signal)
}

/** Unpacks what is in a draft, in place of what an interrupted run has unpacked. */
export async function unpackAgain(draft: Draft, signal: AbortSignal): Promise<void> {
  const { unpack } = await import('../packages/unpack.ts')
  await rm(draft.content, { recursive: true, force: true })
  await unpack(tarballIn(draft), draft.content, { signal })
}

export async function integrityOf(file: string): Promise<string> {
  const hash = createHash('sha512')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return `sha512-${hash.digest('base64')}`
}

/** An answer that vouches for what is in a draft survives a power cut, so that must, too. */
export async function flushDraft(draft: Draft, what: string): Promise<void> {
  await flushTree(draft.directory).catch((error) => {
    throw diskError(error, `flushing ${what}`)
  })
}
