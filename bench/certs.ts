/**
 * `npm run bench:certs`: certificates per second against the bare signature in them (`crypto.sign` over as many bytes),
 * interleaved. Every certificate is for another key, as in a join; the target is about signing for a key that was read from its
 * SPKI before, and a second row shows the same with the reading, which OpenSSL makes dearer than the signature.
 */
import { sign, type KeyObject } from 'node:crypto'
import { plus, systemClock } from '../core/clock.ts'
import type { AgentId } from '../core/ids.ts'
import { agentUri } from '../core/certs/identity.ts'
import {
  generateKey,
  keySigner,
  publicKeyOf,
  spki,
  type KeyAlgorithm,
} from '../core/certs/signer.ts'
import { issueSshCertificate } from '../core/certs/ssh-certificate.ts'
import { createCaCertificate, issueCertificate } from '../core/certs/x509.ts'
import { readCertificate } from '../core/certs/x509-read.ts'
import { compare, save } from './support/rounds.ts'

const COUNT = Number(process.env['BENCH_CERTS'] ?? 3000)
const HOUR = 3_600_000
const now = systemClock.now()
const uri = agentUri('demo', 'ag_01jd00000000000000000000aa' as AgentId, 'ssh')

/** Runs `each` COUNT times and answers how many it did in a second. */
async function rate(each: (i: number) => unknown): Promise<number> {
  const start = systemClock.monotonic()
  for (let i = 0; i < COUNT; i++) await each(i)
  return COUNT / ((systemClock.monotonic() - start) / 1000)
}

/** Keys are made outside the measured time, and fresh for every round: nothing is in a cache but what reading a key keeps. */
const withKeys =
  (algorithm: KeyAlgorithm, readToo: boolean, each: (publicKey: KeyObject) => unknown) =>
  async (): Promise<number> => {
    const infos = Array.from({ length: COUNT }, () => spki(generateKey(algorithm).publicKey))
    const keys = readToo ? [] : infos.map(publicKeyOf)
    return rate((i) => {
      const info = infos[i]
      return info && each(keys[i] ?? publicKeyOf(info))
    })
  }

const rows = []
for (const algorithm of ['ES256', 'EdDSA'] as const) {
  const { privateKey } = generateKey(algorithm)
  const signer = keySigner(privateKey)
  const ca = await createCaCertificate({
    name: 'bench CA',
    signer,
    notBefore: now,
    notAfter: plus(now, HOUR),
  })
  const issuer = { certificate: readCertificate(ca), signer }
  const digest = algorithm === 'ES256' ? 'sha256' : null
  const bytes = Buffer.alloc(500, 'x')
  const raw = () => rate(() => sign(digest, bytes, privateKey))
  const x509 = (publicKey: KeyObject) =>
    issueCertificate({
      subject: 'web-1',
      publicKey,
      issuer,
      notBefore: now,
      notAfter: plus(now, HOUR),
      uris: [uri],
      dns: ['web-1.demo'],
      usage: ['client', 'server'],
    })
  const ssh = (publicKey: KeyObject) =>
    issueSshCertificate(
      {
        role: 'host',
        publicKey,
        keyId: 'web-1',
        principals: ['web-1', 'web-1.demo'],
        validAfter: now,
        validBefore: plus(now, HOUR),
      },
      signer,
    )
  for (const [name, each] of [
    ['X.509', x509],
    ['OpenSSH', ssh],
  ] as const)
    for (const readToo of [false, true]) {
      const figure = `${name} certificates, ${algorithm}${readToo ? ', reading the key too' : ''}`
      const row = await compare(figure, 'per second', readToo ? 'none' : '≥ 0.4', [
        { name: 'certificates', run: withKeys(algorithm, readToo, each) },
        { name: 'crypto.sign', run: raw },
      ])
      rows.push(row)
    }
}
save('certs', rows)
