/** The control plane of one machine: one data directory, one cluster, kept over restarts. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { identityOf } from '../../core/certs/identity.ts'
import { generateKey } from '../../core/certs/signer.ts'
import { newId } from '../../core/ids.ts'
import { systemClock } from '../../core/clock.ts'
import { systemRandom } from '../../core/random.ts'
import { createLocalControlPlane, type LocalControlPlane } from '../../functions/wiring.ts'

const root = mkdtempSync(join(tmpdir(), 'postern-wiring-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const dataDir = join(root, 'data')
const open = (clusterName = 'one.internal'): Promise<LocalControlPlane> =>
  createLocalControlPlane({
    dataDir,
    clusterName,
    publicOrigins: () => ['https://127.0.0.1:3080'],
    proxies: () => ['127.0.0.1:3080'],
  })
const get = (plane: LocalControlPlane, path: string, key: string) =>
  plane.fetch(
    new Request(`https://127.0.0.1:3080${path}`, { headers: { authorization: `Bearer ${key}` } }),
    { ip: '127.0.0.1' },
  )

test('a restart keeps cluster, CAs, keys and data; the name is decided once', async () => {
  const first = await open()
  const { operatorKey } = await first.bootstrap({ user: 'ann', roles: ['access', 'editor'] })
  expect(operatorKey).toMatch(/^pst_key_[A-Za-z0-9_-]{43}$/)
  const pins = first.caPins
  await first.close()
  const second = await open('two.internal')
  expect(second.cluster).toBe('one.internal')
  expect(second.caPins).toEqual(pins)
  expect(second.caBundle).toEqual(first.caBundle)
  expect((await get(second, '/v1/users/ann', operatorKey)).status).toBe(200)
  await second.close()
})

test('a second one on the same directory is told who holds it', async () => {
  const first = await open()
  await expect(open()).rejects.toMatchObject({ code: 'ERR_DATA_DIR_HELD' })
  await first.close()
  await (await open()).close()
})

test('nothing secret lies readable: directories 0700, files 0600, no key in the store', async () => {
  const plane = await open()
  const { operatorKey } = await plane.bootstrap({ user: 'ann', roles: ['access'] })
  await plane.close()
  expect(statSync(dataDir).mode & 0o777).toBe(0o700)
  for (const name of readdirSync(join(dataDir, 'ca')))
    expect(statSync(join(dataDir, 'ca', name)).mode & 0o777, name).toBe(0o600)
  const key = readFileSync(join(dataDir, 'ca/host.key.pem'), 'utf8').split('\n')[1] ?? '?'
  for (const name of readdirSync(join(dataDir, 'store'))) {
    const bytes = readFileSync(join(dataDir, 'store', name), 'latin1')
    expect(bytes.includes(operatorKey)).toBe(false)
    expect(bytes.includes(key)).toBe(false)
  }
})

test('it issues proxy identities and TLS certificates that openssl accepts', async () => {
  const plane = await open()
  const proxyId = newId('proxy', systemClock.now(), systemRandom)
  const proxy = await plane.issueProxyIdentity(proxyId, generateKey().publicKey)
  expect(identityOf(proxy.certificate)).toEqual({ kind: 'proxy', cluster: 'one.internal', proxyId })
  const server = await plane.issueServerCertificate({
    key: generateKey().publicKey,
    dns: ['localhost'],
    ips: ['127.0.0.1', '::1'],
  })
  const file = (name: string, text: string): string => {
    writeFileSync(join(root, name), text)
    return join(root, name)
  }
  const verify = (...args: string[]): string =>
    execFileSync('openssl', ['verify', '-x509_strict', ...args], { encoding: 'utf8' })
  const ca = file('ca.pem', server.caPem)
  const host = ['-verify_ip', '127.0.0.1', '-verify_hostname', 'localhost', '-purpose', 'sslserver']
  expect(verify('-CAfile', ca, ...host, file('server.pem', server.pem))).toMatch(/OK/)
  expect(verify('-CAfile', ca, '-purpose', 'sslclient', file('proxy.pem', proxy.pem))).toMatch(/OK/)
  await plane.close()
})

test('discovery, ping and CA tell the same pins as the ones that tokens print', async () => {
  const plane = await open()
  const { operatorKey } = await plane.bootstrap({ user: 'ann', roles: ['access'] })
  for (const path of ['/.well-known/postern', '/v1/ping', '/v1/ca']) {
    const answer = (await (await get(plane, path, operatorKey)).json()) as Record<string, unknown>
    expect(answer).toMatchObject({ cluster: 'one.internal', ca_pins: plane.caPins })
  }
  await plane.close()
})

test('every bootstrap is in the audit log', async () => {
  const plane = await open()
  const { operatorKey, keyId } = await plane.bootstrap({
    user: 'ann',
    roles: ['access', 'auditor'],
  })
  const answer = await get(plane, '/v1/events?type=operator.bootstrap&limit=1', operatorKey)
  const { items } = (await answer.json()) as { items: object[] }
  expect(items[0]).toMatchObject({ actor: 'ann', fields: { key: keyId } })
  await plane.close()
})
