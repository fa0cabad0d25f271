/** Surface first: implementation follows in this file. */
import type { KeyObject } from 'node:crypto'

export interface SshPublicKey {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, `sk-…@openssh.com`; never a certificate type. */
  readonly type: string
  readonly key: KeyObject
  readonly blob: Buffer
  /** Of security keys only. */
  readonly application?: string
}
export declare function publicKeyBlob(key: KeyObject): Buffer
/** Throws ERR_CERT_INVALID, also for a certificate offered as a key. */
export declare function parsePublicKey(blob: Uint8Array): SshPublicKey
export declare function verifySshSignature(
  key: SshPublicKey,
  data: Uint8Array,
  signature: Uint8Array,
  algorithms?: readonly string[],
): boolean
/** `SHA256:…` as OpenSSH prints it. */
export declare function sshFingerprint(blob: Uint8Array): string
/** `type base64 comment` of a key or certificate blob. */
export declare function authorizedKey(blob: Uint8Array, comment?: string): string
/** The `OPENSSH PRIVATE KEY` file of a key, unencrypted. */
export declare function exportSshPrivateKey(privateKey: KeyObject, comment?: string): string
