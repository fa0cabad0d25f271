/** SSH signature blobs: made from what a Signer answers, and checked for every key type that a stock client may hold. */
import { constants, createHash, verify } from 'node:crypto'
import { derToRaw } from './ecdsa.ts'
import type { Signer } from './signer.ts'
import { isSecurityKey, type SshPublicKey } from './ssh-key.ts'
import { mpint, SshReader, string, u32 } from './ssh-wire.ts'

/** Signs `data`; the algorithm of the blob is the type of the signer's key. */
export async function sshSignature(
  signer: Signer,
  data: Uint8Array,
  signal?: AbortSignal,
): Promise<Buffer> {
  const signature = await signer.sign(data, signal)
  if (signer.algorithm === 'EdDSA') return Buffer.concat([string('ssh-ed25519'), string(signature)])
  const raw = derToRaw(signature)
  const values = Buffer.concat([mpint(raw.subarray(0, 32)), mpint(raw.subarray(32))])
  return Buffer.concat([string('ecdsa-sha2-nistp256'), string(values)])
}

const sha256 = (data: Uint8Array | string): Buffer => createHash('sha256').update(data).digest()

// SHA-1 signatures ("ssh-rsa" as an algorithm) are absent on purpose.
const RSA_DIGEST = new Map([
  ['rsa-sha2-256', 'sha256'],
  ['rsa-sha2-512', 'sha512'],
])
const ECDSA = new Map([
  ['nistp256', { digest: 'sha256', bytes: 32 }],
  ['nistp384', { digest: 'sha384', bytes: 48 }],
  ['nistp521', { digest: 'sha512', bytes: 66 }],
])

/** r and s as mpints to r ‖ s, undefined when one of them does not fit the curve. */
function rawEcdsa(signature: Buffer, bytes: number): Buffer | undefined {
  const reader = new SshReader(signature)
  const raw = Buffer.alloc(2 * bytes)
  for (const end of [bytes, 2 * bytes]) {
    const value = reader.mpint()
    if (value.length > bytes) return undefined
    value.copy(raw, end - value.length)
  }
  return reader.done ? raw : undefined
}

function check(key: SshPublicKey, data: Uint8Array, blob: Buffer, allowed?: readonly string[]) {
  const reader = new SshReader(blob)
  const algorithm = reader.text()
  const signature = reader.string()
  if (allowed && !allowed.includes(algorithm)) return false
  let message = data
  if (isSecurityKey(key.type)) {
    const flags = reader.u8()
    const counter = reader.u32()
    // Bit 0: somebody touched the key. Without it malware on the client could sign alone (CVE-2026-39831).
    if (!(flags & 1)) return false
    const parts = [sha256(key.application ?? ''), Buffer.of(flags), u32(counter), sha256(data)]
    message = Buffer.concat(parts)
  }
  if (!reader.done) return false
  if (key.type === 'ssh-rsa') {
    const digest = RSA_DIGEST.get(algorithm)
    const padding = constants.RSA_PKCS1_PADDING
    return digest !== undefined && verify(digest, message, { key: key.key, padding }, signature)
  }
  if (algorithm !== key.type) return false
  const curve = ECDSA.get(/nistp\d+/.exec(key.type)?.[0] ?? '')
  if (!curve) return verify(null, message, key.key, signature)
  const raw = rawEcdsa(signature, curve.bytes)
  if (!raw) return false
  return verify(curve.digest, message, { key: key.key, dsaEncoding: 'ieee-p1363' }, raw)
}

/** Whether the blob is a signature by `key` over `data`, with one of `algorithms` when given. Never throws. */
export function verifySshSignature(
  key: SshPublicKey,
  data: Uint8Array,
  signature: Uint8Array,
  algorithms?: readonly string[],
): boolean {
  try {
    return check(key, data, Buffer.from(signature), algorithms)
  } catch {
    return false
  }
}
