/**
 * Every join method against every way in which evidence can be wrong, one way at a time, and what the audit log says of each. Id
 * tokens, whose methods share one engine, are all run here; the other methods have files of their own, which the table names. A way
 * that a method cannot be wrong in says why.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { JoinPayload } from '../../core/api/join.ts'
import { generateKey, keySigner } from '../../core/certs/signer.ts'
import { seconds } from '../../core/clock.ts'
import { JOIN_METHODS, type JoinMethodName } from '../../core/domain/join-method.ts'
import { encodeKey, signJoin } from '../../core/join/messages.ts'
import { OIDC_METHODS, type OidcMethodName } from '../../core/domain/join-method.ts'
import { LIMITS } from '../../core/limits.ts'
import { fakeIssuers, type FakeIssuers } from '../fakes/issuers.ts'
import { softwareTpm } from '../support/software-tpm.ts'
import { CASES } from '../support/id-token-cases.ts'
import { jwksOf, signIdToken, signingKey, type SigningKey } from '../support/id-tokens.ts'
import { joinBy, lastJoin, tokenFile } from './support/method-join.ts'
import { codeOf, openWorld, type Answer, type World } from './support/world.ts'

const WAYS = [
  'wrong key',
  'audience',
  'issuer',
  'time',
  'algorithm',
  'host',
  'account',
  'replayed challenge',
  'evidence of another agent',
  'oversized',
  'duplicated fields',
] as const
type Way = (typeof WAYS)[number]

/** Where a way is run, by the title there; or why the method cannot be wrong in it. */
type Cell = { readonly title: string } | { readonly none: string }
type Row = Readonly<Partial<Record<Way, Cell>>>
const at = (title: string): Cell => ({ title })
const none = (why: string): Cell => ({ none: why })

/** Run below, for every method. */
const EVERY: readonly Way[] = ['replayed challenge', 'oversized', 'duplicated fields']

const ELSEWHERE: Readonly<Record<string, { readonly file: string; readonly row: Row }>> = {
  token: {
    file: 'test/api/join.test.ts',
    row: {
      'wrong key': at('when the service key does not sign'),
      audience: none('a secret is made out to nobody'),
      issuer: none('the server made the secret itself'),
      time: at('when the token expired, by the clock'),
      algorithm: none('a secret is looked up by its SHA-256; there is nothing to choose'),
      host: none('a secret names no host'),
      account: at('for an unknown secret'),
      'evidence of another agent': at('when the secret is not the one of the challenge'),
    },
  },
  iam: {
    file: 'test/api/join-iam.test.ts',
    row: {
      'wrong key': at('for a wrong key'),
      audience: at('for a signature of another service'),
      issuer: none('AWS itself answers; no issuer is named'),
      time: at('for a signature that is too old'),
      algorithm: at('for a signature of another algorithm'),
      host: at('for a host that is not of AWS (CVE-2020-16250)'),
      account: at('for another account'),
      'replayed challenge': at('for a challenge of another join'),
      'evidence of another agent': at('when the evidence was made for another agent'),
      oversized: at('for a header that is too long'),
      'duplicated fields': at('for a header twice'),
    },
  },
  ec2: {
    file: 'test/api/join-ec2.test.ts',
    row: {
      'wrong key': at('for a valid signature by a key that is not of AWS (CVE-2026-46354)'),
      audience: none(
        'a document is made out to nobody, which is why it counts for minutes and once',
      ),
      issuer: at('for the key of another region'),
      time: at('for an instance started too long ago'),
      algorithm: at('for SHA-1'),
      host: none('a document names no host, and nothing in it is called'),
      account: at('for another account'),
      'evidence of another agent': at('IID replay: joins once'),
      oversized: at('for a message that is too long'),
      'duplicated fields': at('for a field named twice'),
    },
  },
  bound_keypair: {
    file: 'test/api/join-bound-keypair.test.ts',
    row: {
      'wrong key': at('a key that is not the registered one'),
      audience: at('a signature made for another purpose'),
      issuer: none('the machine itself signs'),
      time: at('after the time for it is refused'),
      algorithm: at('an RSA key'),
      host: none('a key names no host'),
      account: none('the key is the account: wrong key'),
      'replayed challenge': at('a signature of another challenge'),
      'evidence of another agent': at('a join state of another machine, of another service'),
      oversized: at('a signature that is too long'),
    },
  },
  azure: {
    file: 'test/api/join-azure.test.ts',
    row: {
      'wrong key': at('for an access token by another key'),
      audience: at('for an access token for another service'),
      issuer: at('for an access token of a tenant that its issuer contradicts'),
      time: at('for a document that expired'),
      algorithm: at('for an access token by HMAC with the public key'),
      host: at('for a certificate of the same CA for another server'),
      account: at('of another subscription'),
      'replayed challenge': at('for a document of another join'),
      'evidence of another agent': at('for a document that another agent asked for'),
      oversized: at('for a message that is too long'),
      'duplicated fields': at('for a field named twice'),
    },
  },
  tpm: {
    file: 'test/api/join-tpm.test.ts',
    row: {
      'wrong key': at('for an attestation signed by another key'),
      audience: none('an attestation is bound to the challenge, which is made out to one join'),
      issuer: at('for a certificate of another maker'),
      time: at('for a certificate that expired'),
      algorithm: at('for an attestation key of another algorithm'),
      host: none('a TPM names no host'),
      account: at('for a TPM that no rule names'),
      'replayed challenge': at('for an attestation of another challenge'),
      'evidence of another agent': at('for an attestation that another agent was asked for'),
      oversized: at('for evidence that is too long'),
    },
  },
  'kubernetes in_cluster': {
    file: 'test/api/join-in-cluster.test.ts',
    row: {
      'wrong key': at('for a token by another key'),
      audience: at('for a token made out to the API server, as every pod has one'),
      issuer: at('when the cluster names somebody else'),
      time: at('for a token that expired'),
      algorithm: at('for an algorithm that the cluster does not use'),
      host: at('when the answer is a redirect'),
      account: at('for another account'),
      'replayed challenge': none('kubernetes, below: the same call'),
      'evidence of another agent': none('kubernetes, below: spent by the same engine'),
      oversized: none('kubernetes, below: the same evidence'),
      'duplicated fields': none('kubernetes, below: the same reader of claims'),
    },
  },
}

let world: World
let issuers: FakeIssuers
let n = 0
const stranger = signingKey('RS256')
const tpm = softwareTpm('ecc')
beforeAll(async () => {
  issuers = await fakeIssuers(Object.values(CASES).map(({ issuer }) => issuer))
  world = await openWorld({ issuers: { at: issuers.at } })
  const SPECS: Partial<Record<JoinMethodName, object>> = {
    iam: { allow: [{ aws_account: '123456789012' }] },
    ec2: { allow: [{ aws_account: '123456789012' }] },
    bound_keypair: {},
    azure: { azure: { allow: [{ subscription: '11111111-2222-4333-8444-555555555555' }] } },
    tpm: { tpm: { allow: [{ ek_public_hash: 'ab'.repeat(32) }] } },
  }
  for (const method of JOIN_METHODS) {
    if (method === 'token') continue
    const own = CASES[method as OidcMethodName]
    const spec = SPECS[method] ?? { [method]: own.block(jwksOf(issuers.key)) }
    const made = await world.op(
      'POST',
      '/v1/tokens',
      tokenFile(method, { join_method: method, ...spec }),
    )
    expect(made.status, made.text).toBe(201)
  }
})
afterAll(async () => {
  await world.close()
  await issuers.close()
})

/** An id token of this method's issuer that its rule lets in, changed. */
function idToken(
  method: OidcMethodName,
  change: object = {},
  by: { key?: SigningKey; header?: object; text?: (claims: string) => string } = {},
): string {
  const given = CASES[method]
  const iat = seconds(world.clock.now())
  const times = { iat, nbf: iat, exp: iat + 300, jti: `t-${++n}` }
  const claims = { iss: given.issuer, aud: given.audience, ...times, ...given.claims, ...change }
  const key = { ...(by.key ?? issuers.key), kid: issuers.key.kid }
  const header = { alg: key.alg, kid: key.kid, typ: 'JWT', ...by.header }
  return signIdToken(key, by.text?.(JSON.stringify(claims)) ?? claims, header)
}
const show = (method: OidcMethodName, given: string): Promise<Answer> =>
  joinBy(world, {
    method,
    token: method,
    node: `corpus-${++n}`,
    evidence: () => ({ id_token: given }),
    ip: `198.51.100.${n % 250}`,
  })
async function refused(answer: Answer, reason: RegExp): Promise<void> {
  expect(codeOf(answer), answer.text).toBe('ERR_JOIN_REFUSED')
  expect((answer.body as { detail: string }).detail).toBe('The join was refused')
  expect(await lastJoin(world)).toMatchObject({
    outcome: 'refused',
    reason: expect.stringMatching(reason) as string,
  })
}

type Broken = readonly [(method: OidcMethodName) => string, RegExp]
const OIDC: Readonly<Partial<Record<Way, Broken>>> = {
  'wrong key': [(m) => idToken(m, {}, { key: stranger }), /^id token: .*signature does not hold/],
  audience: [
    (m) => idToken(m, { aud: 'other.internal' }),
    /^id token: audience is "other.internal"/,
  ],
  issuer: [(m) => idToken(m, { iss: 'https://evil.example' }), /^id token: issuer is "https:/],
  time: [
    (m) => idToken(m, { exp: seconds(world.clock.now()) - 31, iat: 1, nbf: 1 }),
    /^id token: (expired|lives longer)/,
  ],
  algorithm: [
    (m) => idToken(m, {}, { header: { alg: 'HS256' } }),
    /^id token: .*algorithm "HS256" is not allowed/,
  ],
  host: [
    (m) => idToken(m, {}, { header: { jku: 'https://evil.example/keys' } }),
    /^id token: header has jku$/,
  ],
  account: [(m) => idToken(m, Object.values(CASES[m].strangers)[0]), /^no rule of the token fits$/],
  'duplicated fields': [
    (m) => idToken(m, {}, { text: (claims) => `{"sub":"somebody",${claims.slice(1)}` }),
    /^id token: claims: .*named twice/,
  ],
}
/** Ways that one method of the family cannot be wrong in. */
const OIDC_NONE: Readonly<Partial<Record<OidcMethodName, Partial<Record<Way, string>>>>> = {
  kubernetes: {
    issuer: 'pasted keys are trusted whatever name they go by; with type oidc it is the engine’s',
  },
}

describe.each(OIDC_METHODS)('an id token of %s', (method) => {
  test('that is whole is let in, once: the evidence of another agent is refused', async () => {
    const good = idToken(method)
    const answer = await show(method, good)
    expect(answer.status, answer.text).toBe(200)
    await refused(await show(method, good), /^the evidence was shown by another agent before$/)
  })
  const ways = Object.entries(OIDC).filter(([way]) => !OIDC_NONE[method]?.[way as Way])
  test.each(ways)('with another %s', async (_, [make, reason]) => {
    await refused(await show(method, make(method)), reason)
  })
})

/** Of each method one field of its evidence. */
const FIELD: Readonly<Partial<Record<JoinMethodName, string>>> = {
  token: 'secret',
  iam: 'body',
  ec2: 'rsa2048',
  bound_keypair: 'public_key',
  azure: 'attested',
  tpm: 'attest',
}
const fieldOf = (method: JoinMethodName): string => FIELD[method] ?? 'id_token'
const tokenOf = (method: JoinMethodName): string => (method === 'token' ? 'A'.repeat(43) : method)
const params = (method: JoinMethodName): object =>
  method === 'tpm' ? { params: tpm.opening() } : {}

describe.each(JOIN_METHODS)('evidence of method %s', (method) => {
  const keysOf = (enrolment = generateKey(), service = generateKey()) => ({
    enrolment,
    service,
    fields: {
      enrolment_key: encodeKey(enrolment.publicKey),
      service_key: encodeKey(service.publicKey),
    },
  })
  type Keys = ReturnType<typeof keysOf>
  async function challengeFor({ fields }: Keys): Promise<string> {
    const body = { method, token: tokenOf(method), service: 'ssh', ...fields, ...params(method) }
    const asked = await world.call('POST', '/v1/join/challenge', {
      body,
      ip: `198.51.100.${++n % 250}`,
    })
    expect(asked.status, asked.text).toBe(200)
    return (asked.body as { challenge: string }).challenge
  }
  /** Signed by these keys; `bytes` in place of what was signed, for what is refused before signatures are looked at. */
  async function send(given: JoinPayload, keys: Keys, bytes?: string): Promise<Answer> {
    const signed = await signJoin(given, {
      enrolment: keySigner(keys.enrolment.privateKey),
      service: keySigner(keys.service.privateKey),
    })
    const body =
      bytes === undefined
        ? signed
        : { ...signed, payload: Buffer.from(bytes).toString('base64url') }
    return world.call('POST', '/v1/join', { body, ip: `198.51.100.${++n % 250}` })
  }
  const payload = (challenge: string, keys: Keys, evidence: unknown = {}): JoinPayload => ({
    challenge,
    method,
    service: 'ssh',
    ...keys.fields,
    node_name: `corpus-${++n}`,
    evidence,
  })

  test('replayed challenge: one that was made for other keys', async () => {
    const [seen, own] = [keysOf(), keysOf()]
    const challenge = await challengeFor(seen)
    const answer = await send(payload(challenge, own), own)
    expect(codeOf(answer)).toBe('ERR_JOIN_CHALLENGE_INVALID')
    expect((await lastJoin(world))?.reason).toBe('the challenge was for another enrolment key')
  })
  test('oversized: a field beyond its cap', async () => {
    const keys = keysOf()
    const evidence = { [fieldOf(method)]: 'x'.repeat(LIMITS.idToken.value + 1000) }
    const given = payload(await challengeFor(keys), keys, evidence)
    await refused(await send(given, keys), /^evidence: /)
  })
  test('duplicated fields: evidence that is there twice', async () => {
    const keys = keysOf()
    const given = payload(await challengeFor(keys), keys)
    const answer = await send(given, keys, `{"evidence":{},${JSON.stringify(given).slice(1)}`)
    expect(codeOf(answer)).toBe('ERR_INPUT_INVALID')
    expect((await lastJoin(world))?.reason).toMatch(/named twice/)
  })
})

test('every method is broken in every way, or says why it cannot be', () => {
  const holes: string[] = []
  const methods = [...JOIN_METHODS, 'kubernetes in_cluster']
  for (const method of methods) {
    const oidc = OIDC_METHODS.find((name) => name === method)
    for (const way of WAYS) {
      if (oidc) {
        const run = way in OIDC || EVERY.includes(way) || way === 'evidence of another agent'
        if (!run && !OIDC_NONE[oidc]?.[way]) holes.push(`${method}: ${way}`)
        continue
      }
      const { file, row } = ELSEWHERE[method] ?? { file: '', row: {} }
      const cell = row[way]
      if (cell && 'title' in cell) {
        if (!readFileSync(file, 'utf8').includes(cell.title))
          holes.push(`${file}: no ${cell.title}`)
      } else if (!cell && !EVERY.includes(way)) holes.push(`${method}: ${way}`)
    }
  }
  expect(holes).toEqual([])
})
