/** Names: one text for one identity, and user attributes that are bounded and exact. */
import { beforeAll, describe, expect, test } from 'vitest'
import { plus } from '../../../core/clock.ts'
import { sequence, utf8String } from '../../../core/certs/der.ts'
import {
  agentUri,
  identityOf,
  proxyUri,
  userExtension,
  userFromSshCertificate,
  userSshExtensions,
  userUri,
} from '../../../core/certs/identity.ts'
import { OID } from '../../../core/certs/oids.ts'
import { generateKey } from '../../../core/certs/signer.ts'
import { parseSpiffe } from '../../../core/certs/spiffe.ts'
import {
  issueSshCertificate,
  parseSshCertificate,
  type SshCertificateRequest,
} from '../../../core/certs/ssh-certificate.ts'
import { readCertificate } from '../../../core/certs/x509-read.ts'
import type { AgentId } from '../../../core/ids.ts'
import {
  AGENT_ID,
  agentLeaf,
  ALICE,
  CLUSTER,
  failure,
  HOUR,
  makeCa,
  NOW,
  PROXY_ID,
  proxyLeaf,
  userLeaf,
  type Ca,
} from '../../support/pki.ts'
import { ext, forge, uri } from './forge.ts'
import { contextualPrimitive } from '../../../core/certs/der.ts'

let ca: Ca
beforeAll(async () => {
  ca = await makeCa('CA')
})

test('agents, proxies and users are read back as issued', async () => {
  expect(identityOf((await agentLeaf(ca)).certificate)).toEqual({
    kind: 'agent',
    cluster: CLUSTER,
    agentId: AGENT_ID,
    service: 'ssh',
  })
  expect(identityOf((await proxyLeaf(ca)).certificate)).toEqual({
    kind: 'proxy',
    cluster: CLUSTER,
    proxyId: PROXY_ID,
  })
  const user = await userLeaf(ca, 'alice+dev@example.com')
  expect(identityOf(user.certificate)).toEqual({
    kind: 'user',
    cluster: CLUSTER,
    user: 'alice+dev@example.com',
    ...ALICE,
    expires: user.certificate.notAfter,
  })
})

const AGENT = `/agent/${AGENT_ID}/ssh`

// What is normalised can be written in two ways, and one of them passes a check that the other does not.
describe('CVE-2021-27099 (SPIRE): a URI is no identity', () => {
  test.each([
    `SPIFFE://${CLUSTER}${AGENT}`,
    `https://${CLUSTER}${AGENT}`,
    `spiffe://${CLUSTER.toUpperCase()}${AGENT}`,
    `spiffe://${CLUSTER}:443${AGENT}`,
    `spiffe://user@${CLUSTER}${AGENT}`,
    `spiffe://-${CLUSTER}${AGENT}`,
    `spiffe://${'a'.repeat(64)}${AGENT}`,
    `spiffe://${AGENT}`,
    `spiffe://${CLUSTER}/${AGENT}`,
    `spiffe://${CLUSTER}/x/..${AGENT}`,
    `spiffe://${CLUSTER}${AGENT}/`,
    `spiffe://${CLUSTER}${AGENT}/more`,
    `spiffe://${CLUSTER}${AGENT}?x=1`,
    `spiffe://${CLUSTER}${AGENT}#x`,
    `spiffe://${CLUSTER}${AGENT}\n`,
    `spiffe://${CLUSTER}/agent/${AGENT_ID}`,
    `spiffe://${CLUSTER}/agent/${AGENT_ID}/root`,
    `spiffe://${CLUSTER}/agent/${AGENT_ID}/constructor`,
    `spiffe://${CLUSTER}/agent/ag_short/ssh`,
    `spiffe://${CLUSTER}/agent/${PROXY_ID}/ssh`,
    `spiffe://${CLUSTER}/agent/${AGENT_ID.toUpperCase()}/ssh`,
    `spiffe://${CLUSTER}/proxy/${AGENT_ID}`,
    `spiffe://${CLUSTER}/proxy/${PROXY_ID}/ssh`,
    `spiffe://${CLUSTER}/user/%61lice`,
    `spiffe://${CLUSTER}/user/..`,
    `spiffe://${CLUSTER}/user/`,
    `spiffe://${CLUSTER}/user/alice/ssh`,
    `spiffe://${CLUSTER}/user/${'a'.repeat(129)}`,
    `spiffe://${CLUSTER}/admin/alice`,
    '',
  ])('%j', (text) => {
    expect(parseSpiffe(text)).toBeUndefined()
  })
})

test('a certificate that carries such a URI names nobody', async () => {
  const san = (...names: Buffer[]) => ({
    extensions: { san: ext(OID.subjectAltName, sequence(...names)) },
  })
  const good = uri(`spiffe://${CLUSTER}${AGENT}`)
  for (const change of [
    san(uri(`spiffe://${CLUSTER}${AGENT}/`)),
    san(good, good),
    san(contextualPrimitive(2, Buffer.from('a.b'))),
  ]) {
    const certificate = readCertificate(await forge(ca, change))
    expect((await failure(() => identityOf(certificate)))?.code).toBe('ERR_CERT_INVALID')
  }
})

test('no URI is made for a name that could not be read back', () => {
  for (const run of [
    () => agentUri('UPPER', AGENT_ID, 'ssh'),
    () => agentUri(CLUSTER, 'ag_x' as AgentId, 'ssh'),
    () => userUri(CLUSTER, 'alice/../root'),
    () => userUri(CLUSTER, ''),
  ])
    expect(run).toThrowError(expect.objectContaining({ code: 'ERR_CERT_REQUEST_REFUSED' }))
  expect(parseSpiffe(proxyUri(CLUSTER, PROXY_ID))?.kind).toBe('proxy')
})

const userCertificate = async (value: Buffer | undefined) =>
  readCertificate(
    await forge(ca, {
      extensions: {
        san: ext(OID.subjectAltName, sequence(uri(userUri(CLUSTER, 'alice')))),
        more: value ? ext(OID.posternUser, value) : Buffer.alloc(0),
      },
    }),
  )

describe('user attributes are refused', () => {
  test.each<[string, Buffer | undefined]>([
    ['when they are not there', undefined],
    ['as plain bytes', Buffer.from('{}')],
    ['when they are not UTF-8', Buffer.of(0x0c, 1, 0xff)],
    ['when they are not JSON', utf8String('{')],
    ['with an unknown field', utf8String('{"roles":[],"traits":{},"logins":[],"admin":true}')],
    ['without a field', utf8String('{"roles":[],"traits":{}}')],
    ['with a field twice', utf8String('{"roles":["a"],"roles":["admin"],"traits":{},"logins":[]}')],
    ['with spaces', utf8String('{"roles":[], "traits":{},"logins":[]}')],
    ['with a role that is no text', utf8String('{"roles":[1],"traits":{},"logins":[]}')],
    ['with a login that is no unix name', utf8String('{"roles":[],"traits":{},"logins":["a b"]}')],
    [
      'above their limit',
      utf8String(`{"roles":[],"traits":{"a":["${'x'.repeat(5000)}"]},"logins":[]}`),
    ],
    [
      'with bytes behind them',
      Buffer.concat([utf8String('{"roles":[],"traits":{},"logins":[]}'), Buffer.of(5, 0)]),
    ],
  ])('%s', async (_name, value) => {
    const certificate = await userCertificate(value)
    expect((await failure(() => identityOf(certificate)))?.code).toBe('ERR_CERT_INVALID')
  })
})

test('attributes that could not be read back are not signed', async () => {
  const big = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`t${i}`, ['x'.repeat(200)]]))
  for (const bad of [
    { ...ALICE, roles: ['a b'] },
    { ...ALICE, traits: big },
    { ...ALICE, logins: ['*'] },
  ])
    expect((await failure(() => userExtension(bad)))?.code).toBe('ERR_CERT_REQUEST_REFUSED')
})

describe('an SSH user certificate', () => {
  const subject = generateKey()
  const issue = async (change: Partial<SshCertificateRequest> = {}) =>
    parseSshCertificate(
      await issueSshCertificate(
        {
          role: 'user',
          publicKey: subject.publicKey,
          keyId: 'alice',
          principals: [...ALICE.logins],
          validAfter: NOW,
          validBefore: plus(NOW, HOUR),
          extensions: userSshExtensions(ALICE),
          ...change,
        },
        ca.signer,
      ),
    )

  test('names the same user as the X.509 certificate', async () => {
    const fromSsh = userFromSshCertificate(await issue(), CLUSTER)
    const fromX509 = identityOf((await userLeaf(ca)).certificate)
    expect(fromSsh).toEqual({ ...fromX509, expires: plus(NOW, HOUR) })
  })

  test('keeps traits with every kind of character', async () => {
    const traits = { note: ['"\\\u007f\u0001é\u2028', '🚪'], __proto__x: ['a'] }
    const extensions = userSshExtensions({ roles: ['dev'], traits })
    expect(userFromSshCertificate(await issue({ extensions }), CLUSTER).traits).toEqual(traits)
  })

  test.each<[string, Partial<SshCertificateRequest>]>([
    ['of a host', { role: 'host' }],
    ['whose key id is no user name', { keyId: '-alice' }],
    ['without roles', { extensions: {} }],
    ['with a principal that is no unix login', { principals: ['alice@example.com'] }],
    [
      'with traits that are no object',
      { extensions: { ...userSshExtensions(ALICE), 'traits@postern': '[]' } },
    ],
  ])('%s names nobody', async (_name, change) => {
    const certificate = await issue(change)
    expect((await failure(() => userFromSshCertificate(certificate, CLUSTER)))?.code).toBe(
      'ERR_CERT_INVALID',
    )
  })
})
