/** Method `tpm`: evidence of a TPM in software, and a corpus that is broken in one place each. A real one is in integration/join. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { generateKey } from '../../core/certs/signer.ts'
import { instant, plus } from '../../core/clock.ts'
import type { JoinKeys } from '../../core/join/binding.ts'
import type { TpmQuestion } from '../../core/join/tpm/method.ts'
import { handClock } from '../support/clock.ts'
import { foreignCa } from '../support/foreign-ca.ts'
import { softwareTpm, type Lies, type SoftwareTpm } from '../support/software-tpm.ts'
import { joinBy, lastJoin, tokenFile, type MethodJoin } from './support/method-join.ts'
import { codeOf, openWorld, pathsOf, type Answer, type World } from './support/world.ts'

const clock = handClock()
const now = clock.now()
const rsa = softwareTpm('rsa')
const ecc = softwareTpm('ecc')
const stranger = softwareTpm('ecc')
const maker = foreignCa('Maker of TPMs', now)
const certificateOf = (tpm: SoftwareTpm, change: object = {}, by = maker): Buffer =>
  by.issue({ subject: 'EK', serial: '73dfdc', publicKey: tpm.ek.publicKey, ...change })

let world: World
let n = 0
beforeAll(async () => {
  world = await openWorld({ clock })
  const rules = [{ description: 'rack 1', ek_public_hash: rsa.hash }, { ek_public_hash: ecc.hash }]
  const create = async (name: string, block: object): Promise<void> => {
    const file = tokenFile(name, { join_method: 'tpm', tpm: block })
    const made = await world.op('POST', '/v1/tokens', file)
    expect(made.status, made.text).toBe(201)
  }
  await create('racks', { allow: rules })
  const serial = [{ ek_certificate_serial: '73:df:dc' }]
  await create('makers', { ekcert_allowed_cas: [maker.pem], allow: serial })
})
afterAll(() => world.close())
beforeEach(() => void (n += 1))

type Make = (challenge: string, question: TpmQuestion, keys: JoinKeys) => unknown
const join = (tpm: SoftwareTpm, make?: Make, more: Partial<MethodJoin> = {}): Promise<Answer> =>
  joinBy(world, {
    method: 'tpm',
    token: 'racks',
    node: `tpm-${n}`,
    params: tpm.opening(),
    answers: (challenge, question, keys) =>
      make
        ? make(challenge, question as TpmQuestion, keys)
        : tpm.evidence(challenge, question as TpmQuestion, keys),
    ...more,
  })
const certified = (tpm: SoftwareTpm, certificate: Buffer): Promise<Answer> =>
  join(tpm, (c, q, keys) => tpm.evidence(c, q, keys, { certificate }), { token: 'makers' })

describe('a machine joins', () => {
  test.each([
    ['RSA-2048', rsa],
    ['P-256', ecc],
  ])('by the hash of its endorsement key of %s', async (_, tpm) => {
    expect((await join(tpm)).status).toBe(200)
    expect(await lastJoin(world)).toMatchObject({
      outcome: 'ok',
      fields: { method: 'tpm', token: 'racks', subject: `tpm:${tpm.hash}` },
    })
  })

  test('by the certificate of its endorsement key, signed by a maker that the token lists', async () => {
    expect((await certified(rsa, certificateOf(rsa))).status).toBe(200)
    expect((await lastJoin(world))?.fields['claims']).toEqual([
      `ek_public_hash=${rsa.hash}`,
      'ek_certificate_verified=true',
      'ek_certificate_serial=73:df:dc',
    ])
  })

  test('with all of its services, and again after a lost answer, as one agent', async () => {
    const keys = { enrolment: generateKey(), key: generateKey() }
    const first = await join(ecc, undefined, keys)
    const again = await join(ecc, undefined, keys)
    const app = await join(ecc, undefined, { enrolment: keys.enrolment, service: 'app' })
    const id = (answer: Answer): unknown => (answer.body as { agent_id: string }).agent_id
    expect([id(again), id(app)]).toEqual([id(first), id(first)])
  })
})

const told =
  (lies: Lies): Make =>
  (challenge, question, keys) =>
    ecc.evidence(challenge, question, keys, { lies })
/** An AK of other attributes, in the same TPM as far as the activation can tell. */
const weak = (lies: Lies): Promise<Answer> => {
  const tpm = softwareTpm('ecc', lies)
  return join(tpm)
}
const elsewhere = foreignCa('Maker of TPMs', now)
const other = foreignCa('Another maker', now)

describe('a join is refused without a word,', () => {
  const refusals: [string, () => Promise<Answer>, RegExp][] = [
    ['for a TPM that no rule names', () => join(stranger), /^no rule allows the endorsement key/],
    [
      'for a certificate with another serial number',
      () => certified(rsa, certificateOf(rsa, { serial: '73dfdd' })),
      /^no rule allows the endorsement key/,
    ],
    [
      'for a secret that was not activated (another TPM was asked)',
      () =>
        join(ecc, (c, q, keys) => ({
          ...ecc.evidence(c, q, keys),
          secret: Buffer.alloc(32).toString('base64url'),
        })),
      /^tpm: the credential was not activated: the secret is wrong$/,
    ],
    [
      'for a secret cut short',
      () => join(ecc, (c, q, keys) => ({ ...ecc.evidence(c, q, keys), secret: 'AAAA' })),
      /^tpm: the credential was not activated: the secret is wrong$/,
    ],
    [
      'for a challenge that was made for another endorsement key',
      () =>
        join(ecc, (c, q, keys) => ({
          ...ecc.evidence(c, q, keys),
          ek_public: rsa.opening().ek_public,
        })),
      /^tpm: the challenge was for another endorsement key$/,
    ],
    [
      'for a challenge that was made for another attestation key',
      () =>
        join(ecc, (c, q, keys) => ({
          ...ecc.evidence(c, q, keys),
          ak_public: rsa.opening().ak_public,
        })),
      /^tpm: the challenge was for another attestation key$/,
    ],
    [
      'for an attestation of another challenge',
      () => join(ecc, (c, q, keys) => ecc.evidence(`${c}x`, q, keys)),
      /^tpm: the attestation is for another join$/,
    ],
    [
      // Whoever sits between agent and control plane may pass a challenge on, but not for keys of their own.
      'for an attestation that another agent was asked for',
      () =>
        join(ecc, (c, q, keys) =>
          ecc.evidence(c, q, { ...keys, enrolment: 'A'.repeat(43) as JoinKeys['enrolment'] }),
        ),
      /^tpm: the attestation is for another join$/,
    ],
    [
      'for an attestation signed by another key',
      () => join(ecc, told({ signer: generateKey().privateKey })),
      /^tpm: the attestation is not signed by the attestation key$/,
    ],
    [
      'for an attestation of another key',
      () => join(ecc, told({ name: rsa.name })),
      /^tpm: the attestation is of another key$/,
    ],
    [
      'for signed bytes that no TPM wrote',
      () => join(ecc, told({ magic: 0x504f5354 })),
      /^tpm: the attestation was not written by a TPM$/,
    ],
    [
      'for a quote in place of a certification',
      () => join(ecc, told({ type: 0x8018 })),
      /^tpm: the attestation certifies nothing$/,
    ],
    [
      'for bytes after the attestation',
      () => join(ecc, told({ rest: Buffer.of(0) })),
      /^tpm: TPM: trailing bytes$/,
    ],
    [
      'for an attestation cut short',
      () => join(ecc, (c, q, keys) => ({ ...ecc.evidence(c, q, keys), signature: 'ABgACw' })),
      /^tpm: TPM: truncated$/,
    ],
    // Without `restricted` the holder of the machine could have it sign what looks like an attestation.
    [
      'for an attestation key that signs anything',
      () => weak({ attributes: 0x00040472 }),
      /^tpm: the attestation key is not restricted$/,
    ],
    [
      'for an attestation key that could leave its TPM',
      () => weak({ attributes: 0x00050470 }),
      /^tpm: the attestation key is not fixedTpm$/,
    ],
    [
      'for an attestation key that came from outside',
      () => weak({ attributes: 0x00050452 }),
      /^tpm: the attestation key is not sensitiveDataOrigin$/,
    ],
    [
      'for an attestation key that decrypts as well',
      () => weak({ attributes: 0x00070472 }),
      /^tpm: the attestation key decrypts as well$/,
    ],
    [
      'for an attestation key of another algorithm',
      () => weak({ scheme: 0x001a }),
      /^tpm: the attestation key does not sign by ECDSA with SHA-256$/,
    ],
    [
      'for no certificate where the token needs one',
      () => join(rsa, undefined, { token: 'makers' }),
      /^tpm: the TPM has no EK certificate, and the token needs one$/,
    ],
    [
      'for the certificate of another key',
      () => certified(rsa, certificateOf(ecc)),
      /^tpm: the EK certificate is of another key$/,
    ],
    [
      'for a certificate of another maker',
      () => certified(rsa, certificateOf(rsa, {}, other)),
      /^tpm: EK certificate: the certificate is of no CA that is listed$/,
    ],
    [
      'for a certificate of another maker of the same name',
      () => certified(rsa, certificateOf(rsa, {}, elsewhere)),
      /^tpm: EK certificate: the signature of the CA does not hold$/,
    ],
    [
      'for a certificate that expired',
      () => certified(rsa, certificateOf(rsa, { notAfter: plus(now, -1000) })),
      /^tpm: EK certificate: the certificate is not in force$/,
    ],
    [
      'for a certificate of a CA',
      () => certified(rsa, certificateOf(rsa, { ca: true })),
      /^tpm: EK certificate: the certificate is one of a CA$/,
    ],
    [
      'for bytes after the certificate',
      () => certified(rsa, Buffer.concat([certificateOf(rsa), Buffer.of(0)])),
      /^tpm: EK certificate: not one certificate alone$/,
    ],
    [
      'for a certificate that is none',
      () => certified(rsa, Buffer.from('hello')),
      /^tpm: EK certificate: not a certificate$/,
    ],
    [
      'for evidence that is too long',
      () => join(ecc, (c, q, keys) => ({ ...ecc.evidence(c, q, keys), attest: 'A'.repeat(1025) })),
      /^evidence: attest/,
    ],
    [
      'for evidence with another field',
      () => join(ecc, (c, q, keys) => ({ ...ecc.evidence(c, q, keys), pcrs: [] })),
      /^evidence: pcrs/,
    ],
    [
      'for a token of another method',
      async () => {
        await world.op(
          'POST',
          '/v1/tokens',
          tokenFile(`ec2-${n}`, { allow: [{ aws_account: '123456789012' }] }),
        )
        return join(ecc, undefined, { token: `ec2-${n}` })
      },
      /^wrong method$/,
    ],
  ]
  test.each(refusals)('%s', async (_, attempt, reason) => {
    const answer = await attempt()
    expect(codeOf(answer)).toBe('ERR_JOIN_REFUSED')
    expect(answer.text).not.toMatch(reason)
    expect(await lastJoin(world)).toMatchObject({
      outcome: 'refused',
      reason: expect.stringMatching(reason) as string,
    })
  })

  test('for a challenge that expired before the TPM had answered', async () => {
    const late = await join(ecc, (c, q, keys) => {
      world.later(61_000)
      return ecc.evidence(c, q, keys)
    })
    expect(codeOf(late)).toBe('ERR_JOIN_CHALLENGE_INVALID')
    expect((await lastJoin(world))?.reason).toBe('the challenge expired')
  })
})

describe('a challenge is refused by its field', () => {
  const wish = (params: unknown): Promise<Answer> =>
    joinBy(world, { method: 'tpm', token: 'racks', params, evidence: () => ({}) })
  const p384 = Buffer.from('not a key').toString('base64url')
  test.each<[string, unknown, string]>([
    ['without a TPM', undefined, 'params'],
    ['without an attestation key', { ek_public: ecc.opening().ek_public }, 'params.ak_public'],
    ['for a key that is none', { ...ecc.opening(), ek_public: p384 }, 'params.ek_public'],
    [
      'for a key of another size',
      { ...ecc.opening(), ek_public: softwareTpm('rsa', {}, 1024).opening().ek_public },
      'params.ek_public',
    ],
    [
      'for a key that is too long',
      { ...ecc.opening(), ek_public: 'A'.repeat(513) },
      'params.ek_public',
    ],
    ['with another field', { ...ecc.opening(), ek_certificate: 'AA' }, 'params.ek_certificate'],
  ])('%s', async (_, params, path) => {
    const answer = await wish(params)
    expect(codeOf(answer)).toBe('ERR_INPUT_INVALID')
    expect(answer.text).toContain(path)
  })

  test('with parameters for a method that takes none', async () => {
    const answer = await joinBy(world, {
      method: 'iam',
      token: 'x',
      params: {},
      evidence: () => ({}),
    })
    expect(pathsOf(answer)).toEqual(['params'])
  })
})

describe('a token file is refused by its field', () => {
  const { hash } = rsa
  test.each<[string, object | undefined, string]>([
    ['without a block', undefined, 'spec.tpm'],
    ['without rules', { allow: [] }, 'spec.tpm.allow'],
    ['with a rule that names nobody', { allow: [{ description: 'all' }] }, 'spec.tpm.allow.0'],
    [
      'with a hash in capitals',
      { allow: [{ ek_public_hash: hash.toUpperCase() }] },
      'spec.tpm.allow.0.ek_public_hash',
    ],
    [
      'with a serial number that anybody can claim',
      { allow: [{ ek_certificate_serial: '01' }] },
      'spec.tpm.allow.0.ek_certificate_serial',
    ],
    [
      'with a CA that is none',
      { ekcert_allowed_cas: ['x'], allow: [{ ek_public_hash: hash }] },
      'spec.tpm.ekcert_allowed_cas.0',
    ],
    [
      'with a leaf in place of a CA',
      {
        ekcert_allowed_cas: [foreignCa('x', instant(now), { ca: false }).pem],
        allow: [{ ek_public_hash: hash }],
      },
      'spec.tpm.ekcert_allowed_cas.0',
    ],
  ])('%s', async (_, tpm, path) => {
    const answer = await world.op(
      'POST',
      '/v1/tokens',
      tokenFile('bad', { join_method: 'tpm', tpm }),
    )
    expect(pathsOf(answer)).toContain(path)
  })
})
