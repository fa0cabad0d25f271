/**
 * Who is at the other end, proven both ways before the first frame (protocols.md 4, SPEC.md section 2). Pure: messages in,
 * messages out; sockets and deadlines are net's.
 *
 *   client ── hello ──► proxy      nonce, purpose, the address it dialled
 *   client ◄─ challenge ── proxy   the proxy proves itself first, over the client's nonce
 *   client ── proof ──► proxy      the client proves itself, over the proxy's nonce
 *   client ◄─ welcome ── proxy     or `refused` at any step
 *
 * Both signatures cover everything both sides said, so none can be moved to another address, proxy, purpose or version.
 */
import { createHash } from 'node:crypto'
import { AppError, isAppError, reasonOf } from '../errors.ts'
import type { Instant } from '../clock.ts'
import { parseId, type ProxyId } from '../ids.ts'
import type { Random } from '../random.ts'
import { identityOf, type Identity } from '../certs/identity.ts'
import { checkProof, CONTEXT, prove } from '../certs/proof.ts'
import type { Signer } from '../certs/signer.ts'
import { readCertificate, type Certificate } from '../certs/x509-read.ts'
import { verifyLeaf } from '../certs/x509-verify.ts'
import type { Challenge, Hello, Proof, TunnelPurpose } from './handshake-messages.ts'
import { chooseVersion, VERSIONS } from './version.ts'

export interface OwnIdentity {
  readonly certificate: Certificate
  readonly signer: Signer
}

const NONCE_BYTES = 32

const broken = (internal: string, cause?: unknown): AppError =>
  new AppError('ERR_TUNNEL_HANDSHAKE', undefined, { internal: `handshake: ${internal}`, cause })

/** `host:port` as both sides write it: lower case, port always there, IPv6 in brackets. */
export function dialledAddress(url: URL): string {
  const port = url.port || (url.protocol === 'wss:' || url.protocol === 'https:' ? '443' : '80')
  return `${url.hostname.toLowerCase()}:${port}`
}

export function makeHello(purpose: TunnelPurpose, dialled: string, random: Random): Hello {
  const nonce = random.bytes(NONCE_BYTES).toString('base64url')
  return { type: 'hello', versions: [...VERSIONS], purpose, nonce, dialled }
}

/** Everything both sides said, in one hash: SHA-256 over length-prefixed parts. */
function transcript(
  hello: Hello,
  challenge: Omit<Challenge, 'type' | 'signature'>,
  ...more: readonly string[]
): Buffer {
  const hash = createHash('sha256')
  const parts = [
    challenge.cluster,
    hello.dialled,
    challenge.proxyId,
    hello.nonce,
    challenge.nonce,
    hello.purpose,
    hello.versions.join(','),
    String(challenge.version),
    challenge.certificate,
    String(challenge.liveProxies),
    ...more,
  ]
  const length = Buffer.alloc(4)
  for (const part of parts) {
    const bytes = Buffer.from(part, 'utf8')
    length.writeUInt32BE(bytes.length)
    hash.update(length).update(bytes)
  }
  return hash.digest()
}

/** The proxy's answer to `hello`. Throws ERR_TUNNEL_VERSION, or ERR_TUNNEL_HANDSHAKE when the client dialled somebody else. */
export async function makeChallenge(
  hello: Hello,
  proxy: {
    readonly cluster: string
    readonly identity: OwnIdentity
    readonly liveProxies: number
    readonly random: Random
    isOwnAddress(dialled: string): boolean
  },
): Promise<Challenge> {
  const version = chooseVersion(hello.versions)
  if (version === undefined)
    throw new AppError('ERR_TUNNEL_VERSION', undefined, {
      internal: `peer speaks ${hello.versions.join(', ')}`,
    })
  // Whoever relays a client's handshake to us was itself dialled under another name.
  if (!proxy.isOwnAddress(hello.dialled))
    throw broken(`the client dialled ${hello.dialled}, which is not an address of ours`)
  const id = identityOf(proxy.identity.certificate)
  if (id.kind !== 'proxy') throw broken('our own certificate is not one of a proxy')
  const said = {
    version,
    proxyId: id.proxyId,
    cluster: proxy.cluster,
    certificate: proxy.identity.certificate.raw.toString('base64url'),
    nonce: proxy.random.bytes(NONCE_BYTES).toString('base64url'),
    liveProxies: proxy.liveProxies,
  }
  const hash = transcript(hello, said)
  const signature = await prove(CONTEXT.tunnelProxy, proxy.identity.signer, hash)
  return { type: 'challenge', ...said, signature: signature.toString('base64url') }
}

/** The client's check of the proxy. Throws ERR_TUNNEL_HANDSHAKE; the exact reason is in `internal`. */
export function checkChallenge(
  hello: Hello,
  challenge: Challenge,
  expected: {
    readonly cluster: string
    readonly hostCas: readonly Certificate[]
    readonly now: Instant
  },
): ProxyId {
  if (!hello.versions.includes(challenge.version)) throw broken('a version we did not offer')
  if (challenge.cluster !== expected.cluster) throw broken(`cluster ${challenge.cluster}`)
  const roots = expected.hostCas
  const certificate = verified(challenge.certificate, { ...expected, roots, usage: 'server' })
  const id = identityOf(certificate)
  if (id.kind !== 'proxy' || id.cluster !== expected.cluster) throw broken('not a proxy of ours')
  if (id.proxyId !== parseId('proxy', challenge.proxyId)) throw broken('another proxy id')
  const hash = transcript(hello, challenge)
  const signature = Buffer.from(challenge.signature, 'base64url')
  if (!checkProof(CONTEXT.tunnelProxy, certificate.publicKey, signature, hash))
    throw broken('signature of the proxy')
  return id.proxyId
}

/** Only after `checkChallenge`: the client never signs for a proxy it did not verify. */
export async function makeProof(
  hello: Hello,
  challenge: Challenge,
  identity: OwnIdentity,
): Promise<Proof> {
  const certificate = identity.certificate.raw.toString('base64url')
  const hash = transcript(hello, challenge, certificate)
  const signature = await prove(CONTEXT.tunnelClient, identity.signer, hash)
  return { type: 'proof', certificate, signature: signature.toString('base64url') }
}

const KIND_OF_PURPOSE = { agent: 'agent', user: 'user', peer: 'proxy' } as const

/** The proxy's check of the client. Throws ERR_TUNNEL_HANDSHAKE; the exact reason is in `internal`. */
export function checkProofMessage(
  hello: Hello,
  challenge: Challenge,
  proof: Proof,
  expected: {
    readonly cluster: string
    readonly hostCas: readonly Certificate[]
    readonly userCas: readonly Certificate[]
    readonly now: Instant
  },
): { readonly identity: Identity; readonly certificate: Certificate } {
  const roots = hello.purpose === 'user' ? expected.userCas : expected.hostCas
  const certificate = verified(proof.certificate, { ...expected, roots, usage: 'client' })
  const identity = identityOf(certificate)
  if (identity.kind !== KIND_OF_PURPOSE[hello.purpose])
    throw broken(`a certificate of kind ${identity.kind} for purpose ${hello.purpose}`)
  if (identity.cluster !== expected.cluster) throw broken(`identity of ${identity.cluster}`)
  const hash = transcript(hello, challenge, proof.certificate)
  const signature = Buffer.from(proof.signature, 'base64url')
  if (!checkProof(CONTEXT.tunnelClient, certificate.publicKey, signature, hash))
    throw broken('signature of the client')
  return { identity, certificate }
}

function verified(
  encoded: string,
  options: {
    readonly roots: readonly Certificate[]
    readonly now: Instant
    readonly usage: 'client' | 'server'
  },
): Certificate {
  try {
    const certificate = readCertificate(Buffer.from(encoded, 'base64url'))
    verifyLeaf(certificate, options)
    identityOf(certificate)
    return certificate
  } catch (e) {
    // Why a certificate fails is for our log alone: to the peer all failures look the same.
    throw isAppError(e) ? broken(`certificate: ${reasonOf(e)}`, e) : e
  }
}
