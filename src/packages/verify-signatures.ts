import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import * as z from 'zod'
import { InstarError } from '../errors.ts'
import { metadataLimits, type TransferLimits } from './limits.ts'
import { accessRegistry, type RegistryChoice } from './registry-access.ts'
import { request } from './request.ts'
import { type Resolved, readJson } from './resolve.ts'

export type SignaturePolicy = 'off' | 'prefer' | 'require'

const Key = z.object({
  keyid: z.string(),
  keytype: z.string(),
  /** Base64 of the DER form (SubjectPublicKeyInfo). */
  key: z.string(),
  /** ISO 8601, or null for a key that has not been retired. */
  expires: z.string().nullish(),
})

/** A key as a registry publishes it at `/-/npm/v1/keys`. */
export type RegistryKey = z.infer<typeof Key>

export interface VerifyOptions extends Omit<RegistryChoice, 'registry'> {
  readonly policy: SignaturePolicy
  /**
   * Keys to trust instead of those the registry publishes. Without them a signature shows only that metadata and keys
   * come from the same hands; with them it shows whose hands.
   */
  readonly keys?: readonly RegistryKey[]
  readonly signal?: AbortSignal
  readonly limits?: Partial<TransferLimits>
}

export interface Verification {
  readonly verified: boolean
  /** Why not, where not. */
  readonly reason?: string
}

/**
 * Checks the registry's signature over `name@version:integrity`.
 *
 * `off` looks at nothing. `prefer` takes what cannot be checked (no signature, no keys, an unknown or an expired key) and
 * says why; a signature that is *wrong* is an error all the same. `require` takes nothing but a valid one.
 *
 * An expired key proves nothing here, whatever the version's publish date: that date is not signed.
 *
 * @throws {InstarError} `SIGNATURE_INVALID` under `prefer` and `require`; `SIGNATURE_MISSING`, `SIGNATURE_KEY_EXPIRED`
 *   and the `REGISTRY_*` codes under `require`; `ABORTED`.
 */
export async function verifySignatures(resolved: Resolved, options: VerifyOptions): Promise<Verification> {
  const { policy } = options
  if (policy === 'off') return { verified: false, reason: 'signatures are not looked at' }
  const id = `${resolved.name}@${resolved.version}`
  const unverified = (error: InstarError): Verification => {
    if (policy === 'require') throw error
    return { verified: false, reason: error.message }
  }
  if (resolved.signatures.length === 0)
    return unverified(new InstarError('SIGNATURE_MISSING', `the registry gives no signature for ${id}`))

  let keys: readonly RegistryKey[]
  try {
    keys = options.keys ?? (await fetchKeys(resolved, options))
  } catch (error) {
    if (error instanceof InstarError && error.code !== 'ABORTED') return unverified(error)
    throw error
  }
  const message = Buffer.from(`${id}:${resolved.integrity}`)
  let expired: string | null = null
  let verified = false
  for (const { keyid, sig } of resolved.signatures) {
    const key = keys.find((candidate) => candidate.keyid === keyid)
    const publicKey = key && readKey(key)
    if (!key || !publicKey) continue
    // Also with an expired key: a signature that does not fit is never an accident.
    if (!verify('sha256', message, publicKey, Buffer.from(sig, 'base64')))
      throw new InstarError('SIGNATURE_INVALID', `the signature of ${id} by ${keyid} is wrong`, {
        details: { keyid, sig },
      })
    if (key.expires && !(Date.now() < Date.parse(key.expires))) expired = key.expires
    else verified = true
  }
  if (verified) return { verified: true }
  if (expired !== null)
    return unverified(new InstarError('SIGNATURE_KEY_EXPIRED', `the key that signed ${id} expired on ${expired}`))
  return unverified(new InstarError('SIGNATURE_MISSING', `no known key has signed ${id}`))
}

async function fetchKeys(resolved: Resolved, options: VerifyOptions): Promise<readonly RegistryKey[]> {
  const access = await accessRegistry(resolved.name, { ...options, registry: resolved.registry })
  const url = new URL('-/npm/v1/keys', access.url)
  const limits = { ...metadataLimits, ...options.limits }
  const wanted = { access, url, compressed: true, limits, signal: options.signal } as const
  return request({ ...wanted, tooLarge: 'REGISTRY_ANSWER_TOO_LARGE' }, async ({ status, body }) => {
    if (status !== 200) throw new InstarError('SIGNATURE_MISSING', `${access.url} publishes no keys`)
    return (await readJson(body, z.object({ keys: z.array(Key) }))).keys
  })
}

/** The one kind of key that npm registries have; what another kind has signed cannot be checked. */
function readKey({ key, keytype }: RegistryKey): KeyObject | null {
  if (keytype !== 'ecdsa-sha2-nistp256') return null
  try {
    const read = createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' })
    const isP256 = read.asymmetricKeyType === 'ec' && read.asymmetricKeyDetails?.namedCurve === 'prime256v1'
    return isP256 ? read : null
  } catch {
    return null // not a key at all
  }
}
