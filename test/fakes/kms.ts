/**
 * KMS over HTTP, as far as CA keys need it: it makes keys, really signs, and refuses what KMS refuses, by KMS's names. Requests must
 * carry a SigV4 signature; which key it is of is not looked at.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { execFileSync } from 'node:child_process'
import { sign, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKey, spki } from '../../core/certs/signer.ts'

interface FakeKey {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly spec: string
  readonly tags: Readonly<Record<string, string>>
  state: 'Enabled' | 'Disabled' | 'PendingDeletion'
}

export interface FakeKms {
  readonly endpoint: string
  readonly keys: ReadonlyMap<string, FakeKey>
  /** Operations that were asked for, in order. */
  readonly calls: readonly string[]
  add(spec: 'ECC_NIST_P256' | 'ECC_NIST_EDWARDS25519'): string
  close(): Promise<void>
}

class Refusal extends Error {
  override readonly name: string
  constructor(name: string) {
    super(name)
    this.name = name
  }
}

/** What a Sign may ask of each kind of key. */
const ALGORITHMS: Readonly<Record<string, { algorithm: string; type: string; max: number }>> = {
  ECC_NIST_P256: { algorithm: 'ECDSA_SHA_256', type: 'DIGEST', max: 32 },
  ECC_NIST_EDWARDS25519: { algorithm: 'ED25519_SHA_512', type: 'RAW', max: 4096 },
}

/** An ECDSA signature over a digest that was made elsewhere: Node has no call for that, openssl has. */
function signDigest(key: KeyObject, digest: Buffer): Buffer {
  const dir = mkdtempSync(join(tmpdir(), 'postern-kms-'))
  try {
    const file = (name: string, content: string | Buffer): string => {
      writeFileSync(join(dir, name), content, { mode: 0o600 })
      return join(dir, name)
    }
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString()
    const args = ['-inkey', file('key.pem', pem), '-in', file('digest', digest)]
    return execFileSync('openssl', ['pkeyutl', '-sign', ...args])
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

export async function fakeKms(): Promise<FakeKms> {
  const keys = new Map<string, FakeKey>()
  const calls: string[] = []
  function add(spec: string, tags: Record<string, string> = {}): string {
    const pair = generateKey(spec === 'ECC_NIST_P256' ? 'ES256' : 'EdDSA')
    const arn = `arn:aws:kms:eu-west-1:111122223333:key/${keys.size + 1}`
    keys.set(arn, { ...pair, spec, tags, state: 'Enabled' })
    return arn
  }
  function keyOf(input: Record<string, unknown>): FakeKey {
    const key = keys.get(String(input['KeyId']))
    if (!key) throw new Refusal('NotFoundException')
    return key
  }
  function answer(operation: string, input: Record<string, unknown>): object {
    switch (operation) {
      case 'CreateKey': {
        if (input['KeyUsage'] !== 'SIGN_VERIFY') throw new Refusal('ValidationException')
        const tags = (input['Tags'] ?? []) as { TagKey: string; TagValue: string }[]
        const spec = String(input['KeySpec'])
        if (!ALGORITHMS[spec]) throw new Refusal('ValidationException')
        const Arn = add(spec, Object.fromEntries(tags.map((t) => [t.TagKey, t.TagValue])))
        return { KeyMetadata: { Arn, KeyId: Arn.split('/')[1] } }
      }
      case 'GetPublicKey': {
        const key = keyOf(input)
        return { PublicKey: spki(key.publicKey).toString('base64'), KeySpec: key.spec }
      }
      case 'Sign': {
        const key = keyOf(input)
        if (key.state === 'Disabled') throw new Refusal('DisabledException')
        if (key.state !== 'Enabled') throw new Refusal('KMSInvalidStateException')
        const wanted = ALGORITHMS[key.spec]
        const message = Buffer.from(String(input['Message']), 'base64')
        const fits =
          wanted &&
          input['SigningAlgorithm'] === wanted.algorithm &&
          input['MessageType'] === wanted.type &&
          message.length <= wanted.max
        if (!fits) throw new Refusal('ValidationException')
        const Signature =
          wanted.type === 'RAW'
            ? sign(null, message, key.privateKey)
            : signDigest(key.privateKey, message)
        return { Signature: Signature.toString('base64') }
      }
      case 'DisableKey':
        keyOf(input).state = 'Disabled'
        return {}
      case 'ScheduleKeyDeletion': {
        const days = Number(input['PendingWindowInDays'])
        if (days < 7 || days > 30) throw new Refusal('ValidationException')
        keyOf(input).state = 'PendingDeletion'
        return {}
      }
      default:
        throw new Refusal('UnknownOperationException')
    }
  }
  const server: Server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const target = String(request.headers['x-amz-target'])
      const operation = target.replace('TrentService.', '')
      calls.push(operation)
      const reply = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' })
        response.end(JSON.stringify(body))
      }
      try {
        if (!/^AWS4-HMAC-SHA256 /.test(request.headers.authorization ?? ''))
          throw new Refusal('IncompleteSignature')
        const input = JSON.parse(Buffer.concat(parts).toString('utf8')) as Record<string, unknown>
        reply(200, answer(operation, input))
      } catch (e) {
        reply(400, { __type: e instanceof Error ? e.name : 'InternalFailure', message: 'refused' })
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys,
    calls,
    add,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
