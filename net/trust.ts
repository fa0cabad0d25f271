/** Whom TLS believes: the system's roots, the cluster's own CA, or both; and how the pinned CA is found the first time. */
import {
  checkServerIdentity,
  createSecureContext,
  rootCertificates,
  type ConnectionOptions,
  type PeerCertificate,
  type SecureContext,
} from 'node:tls'
import { identityOf } from '../core/certs/identity.ts'
import { caPin } from '../core/certs/signer.ts'
import { readCertificate } from '../core/certs/x509-read.ts'
import { verifyLeaf } from '../core/certs/x509-verify.ts'
import { systemClock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { extraRoots } from './env.ts'
import { exchange } from './http-exchange.ts'
import type { ForwardProxy } from './forward-proxy.ts'

export interface Trust {
  /** Accept what the machine accepts. */
  readonly system: boolean
  /** PEM certificates to accept besides, as the cluster's host CA. */
  readonly ca: readonly string[]
  /**
   * Accept, under whatever name it was dialled, a certificate of `ca` that names a proxy. For tunnels, whose handshake says
   * which proxy it is, and for what anyone may know: never where a secret is sent on the word of TLS alone.
   */
  readonly anyProxy?: boolean
}
const MINIMUM = { minVersion: 'TLSv1.2' } as const
export const systemTrust: Trust = { system: true, ca: [] }

/** Contexts kept: of one cluster before and after a rotation, with and without the system's roots, and of a few more. */
const CONTEXTS = 8
const contexts = new Map<string, SecureContext>()

/**
 * One context serves every connection of the same trust. Sessions are not in it: nothing is resumed. A context that names its CAs has
 * OpenSSL read 140 roots anew, 60 ms and a megabyte; one that names none shares those that Node has read once, and takes the
 * cluster's besides.
 */
function contextOf({ system, ca }: Trust): SecureContext {
  const key = `${system}\0${ca.join('\0')}`
  const context = contexts.get(key) ?? (system ? withSystemRoots(ca) : createContext(ca))
  // Insertion order is the order of use.
  contexts.delete(key)
  contexts.set(key, context)
  const oldest = contexts.keys().next()
  if (contexts.size > CONTEXTS && !oldest.done) contexts.delete(oldest.value)
  return context
}

const createContext = (ca: readonly string[]): SecureContext =>
  createSecureContext({ ...MINIMUM, ca: [...ca] })

/** Node's own handle of a context, as its tls module calls it for each `ca`: adds to what is trusted by default. */
interface Handle {
  addCACert(pem: string): void
}

function withSystemRoots(ca: readonly string[]): SecureContext {
  // Node adds its extra roots only where nothing else is added.
  const more = [...extraRoots(), ...ca]
  const context = createSecureContext(MINIMUM)
  const handle = context.context as Partial<Handle>
  if (handle.addCACert === undefined) return createContext([...rootCertificates, ...more])
  for (const pem of more) handle.addCACert(pem)
  return context
}

/** Options for `tls.connect` and `https.request`. */
export function tlsOptions(trust: Trust): ConnectionOptions {
  const base: ConnectionOptions = { ...MINIMUM, rejectUnauthorized: true }
  // Left out, `ca` means the system's roots and those of NODE_EXTRA_CA_CERTS.
  if (trust.system && trust.ca.length === 0) return base
  return {
    ...base,
    secureContext: contextOf(trust),
    ...(trust.anyProxy && {
      checkServerIdentity: (host: string, shown: PeerCertificate) => {
        const wrong = checkServerIdentity(host, shown)
        return wrong && isProxy(shown.raw, trust.ca) ? undefined : wrong
      },
    }),
  }
}

/** Why TLS refused: nobody we know vouches for the certificate. */
export function isUntrusted(e: unknown): boolean {
  let cause = e
  for (let depth = 0; depth < 5 && cause instanceof Error; depth++) {
    const { code } = cause as NodeJS.ErrnoException
    if (code !== undefined && UNTRUSTED.test(code)) return true
    cause = cause.cause
  }
  return false
}
const UNTRUSTED = /SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|CERT_UNTRUSTED|ALTNAME/

function isProxy(raw: Buffer, ca: readonly string[]): boolean {
  try {
    const certificate = readCertificate(raw)
    const roots = ca.map((pem) => readCertificate(pem))
    verifyLeaf(certificate, { roots, now: systemClock.now(), usage: 'server' })
    return identityOf(certificate).kind === 'proxy'
  } catch {
    return false
  }
}

export interface PinnedCa {
  /** PEMs whose key matches a pin; nothing else of the answer is believed. */
  readonly ca: readonly string[]
}

/** What a `/v1/ca` offered that nobody vouched for. */
export interface OfferedCas extends PinnedCa {
  /** The CAs signed by the policy key, for who knows it; to be verified before anything in it is believed. */
  readonly signed: { readonly jws: string; readonly links: readonly string[] } | undefined
  readonly status: number
}

const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g
/** Certificates looked at in one answer: more is not a CA bundle. */
const MOST = 64

export interface FetchCaOptions {
  /** Origin, as `https://access.example.com:443`. */
  readonly url: string
  readonly pins: readonly string[]
  readonly signal?: AbortSignal | undefined
  readonly proxy?: ForwardProxy | undefined
}

/**
 * Reads `GET <url>/v1/ca` over TLS that is not verified, sends nothing secret, keeps only certificates whose key matches a
 * pin (`sha256:<hex>`). Throws ERR_CA_PIN_MISMATCH when none does. Whoever is in between can only make it fail.
 */
export async function fetchPinnedCa(options: FetchCaOptions): Promise<PinnedCa> {
  const { ca, status } = await fetchOfferedCas(options)
  if (ca.length > 0) return { ca }
  throw pinMismatch(`no CA of ${options.url} matches; status ${status}`)
}

export const pinMismatch = (internal: string): AppError =>
  new AppError('ERR_CA_PIN_MISMATCH', undefined, { internal })

/** The same, with what the policy key signed, and no CA of a pin is no failure. */
export async function fetchOfferedCas(options: FetchCaOptions): Promise<OfferedCas> {
  const answer = await exchange({
    method: 'GET',
    url: new URL('/v1/ca', options.url),
    tls: { minVersion: 'TLSv1.2', rejectUnauthorized: false },
    headers: { accept: 'application/json' },
    timeout: LIMITS.httpTimeout.value,
    maxBytes: LIMITS.httpBody.value,
    clock: systemClock,
    signal: options.signal,
    proxy: options.proxy,
  })
  const pins = new Set(options.pins.map((pin) => pin.toLowerCase()))
  // The texts are inside JSON strings, where a line break is written as \n.
  const text = answer.body.toString('utf8').replaceAll('\\r', '').replaceAll('\\n', '\n')
  const ca = (text.match(PEM) ?? []).slice(0, MOST).filter((pem) => matches(pem, pins))
  return { ca, signed: signedOf(answer.body), status: answer.status }
}

const isText = (value: unknown): value is string => typeof value === 'string'

/** By hand and not with a schema: this is on the way of every ssh. */
function signedOf(body: Buffer): OfferedCas['signed'] {
  try {
    const { signed, policy_links: links = [] } = JSON.parse(body.toString('utf8')) as Record<
      string,
      unknown
    >
    if (!isText(signed) || !Array.isArray(links)) return undefined
    return { jws: signed, links: links.filter(isText).slice(-LIMITS.policyKeyLinks.value) }
  } catch {
    return undefined
  }
}

function matches(pem: string, pins: ReadonlySet<string>): boolean {
  try {
    const certificate = readCertificate(pem)
    return certificate.isCa && pins.has(caPin(certificate.publicKey))
  } catch {
    return false
  }
}
