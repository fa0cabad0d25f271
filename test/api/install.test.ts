// The installer and the archives: served to anyone, made of the deployment alone.
import { createHash } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import { verbApp } from '../../functions/http.ts'
import { bucketDownloads, type Downloads } from '../../functions/install/downloads.ts'
import { installScript } from '../../functions/install/script.ts'
import { useBase } from '../../functions/middleware/base.ts'
import { installRoutes } from '../../functions/routes/install.ts'
import { silentLog } from '../../core/log.ts'
import { systemRandom } from '../../core/random.ts'
import { systemClock } from '../../core/clock.ts'
import { fakeAws } from '../fakes/aws.ts'

const aws = await fakeAws()
afterAll(() => aws.close())
const sum = (text: string) => createHash('sha256').update(text).digest('hex')
const archives = { x64: { sha256: sum('x') }, arm64: { sha256: sum('a') } }

function appWith(downloads: Downloads | undefined) {
  const app = verbApp()
  useBase(app, { clock: systemClock, random: systemRandom, log: silentLog })
  installRoutes(app, { origins: () => ['https://api.example.com'], version: '1.2.3', downloads })
  return app
}
const local = appWith({
  archives,
  open: async () => ({ body: new Blob(['bytes']).stream(), size: 5 }),
})

describe('the script', () => {
  test('names the origin, the version and both checksums of the deployment', async () => {
    const answer = await local.request('https://api.example.com/install.sh')
    const text = await answer.text()
    expect(answer.headers.get('content-type')).toBe('text/x-shellscript; charset=utf-8')
    for (const part of ["origin='https://api.example.com'", '1.2.3', sum('x'), sum('a')])
      expect(text).toContain(part)
    expect(text.trimEnd().split('\n').at(-1)).toBe('main "$@"')
  })
  // What it stops: a link to this host that installs somebody else's agent.
  test('is the same whatever the request says', async () => {
    const plain = await (await local.request('https://api.example.com/install.sh')).text()
    const evil = await local.request("https://evil.example/install.sh?origin=x';rm%20-rf%20/;'", {
      headers: { host: 'evil.example', 'x-forwarded-host': 'evil.example', forwarded: 'host=evil' },
    })
    expect(await evil.text()).toBe(plain)
  })
  test.each([
    ['an origin with a quote', { origin: "https://a'b", version: '1' }],
    ['plain http', { origin: 'http://a', version: '1' }],
    ['a version with a line break', { origin: 'https://a', version: '1\n2' }],
  ])('%s is not written into it', (_, input) => {
    expect(() => installScript({ ...input, archives })).toThrow()
  })
})

describe('the archives', () => {
  test('on one machine: the file itself, with its length', async () => {
    const answer = await local.request('https://api.example.com/v1/agent/postern-agent-x64.tar.gz')
    expect(answer.headers.get('content-length')).toBe('5')
    expect(await answer.text()).toBe('bytes')
  })
  test('in the cloud: 302 to a URL that S3 takes and that ends after five minutes', async () => {
    aws.objects.set('/agent.tar.gz', Buffer.from('archive'))
    const one = { bucket: 'assets', key: 'agent.tar.gz', sha256: sum('x') }
    const cloud = appWith(
      bucketDownloads({
        archives: { x64: one, arm64: one },
        region: 'eu-west-1',
        credentials: () => ({
          accessKeyId: aws.key.id,
          secretAccessKey: aws.key.secret,
          sessionToken: aws.key.token,
        }),
        clock: systemClock,
      }),
    )
    const answer = await cloud.request('https://a/v1/agent/postern-agent-arm64.tar.gz')
    expect(answer.status).toBe(302)
    const url = new URL(answer.headers.get('location') ?? '')
    expect(url.host).toBe('assets.s3.eu-west-1.amazonaws.com')
    expect(url.searchParams.get('X-Amz-Expires')).toBe('300')
    // The signature is for that host; the fake answers under any name.
    const { hostname, port } = new URL(aws.origin)
    const { request } = await import('node:http')
    const body = await new Promise<string>((resolve, reject) => {
      request(
        { hostname, port, path: `${url.pathname}${url.search}`, headers: { host: url.host } },
        (r) => {
          let text = ''
          r.on('data', (chunk: Buffer) => (text += chunk.toString()))
          r.on('end', () => resolve(text))
        },
      )
        .on('error', reject)
        .end()
    })
    expect(body).toBe('archive')
  })
  test.each(['postern-agent-mips.tar.gz', '../secret', 'x64'])('%s is none', async (file) => {
    expect((await local.request(`https://a/v1/agent/${file}`)).status).toBe(404)
  })
  test('without archives both paths say what makes them', async () => {
    const answer = await appWith(undefined).request('https://a/install.sh')
    expect(answer.status).toBe(404)
    expect(await answer.text()).toContain('npm run artefacts')
  })
})
