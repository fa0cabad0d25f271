// Load balancers that end TLS, without sticky sessions: nothing of ours depends on what they see.
import type { ChildProcess } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { finish, lineOf } from '../cli/postern.ts'
import { missing, peer } from '../../support/peers.ts'
import { served, type Part, type Served } from '../../support/served.ts'
import { serverTls } from '../../support/tls.ts'

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

const CONFIG = {
  nginx: (dir: string, port: number, to: readonly string[]) => `daemon off; worker_processes 1;
pid ${dir}/nginx.pid; error_log ${dir}/nginx.log; events {}
http { access_log off; client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f;
  uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
  upstream proxies { ${to.map((at) => `server ${at};`).join(' ')} }
  server { listen 127.0.0.1:${port} ssl; ssl_certificate ${dir}/lb.pem; ssl_certificate_key ${dir}/lb.pem;
    location / { proxy_pass http://proxies; proxy_http_version 1.1; proxy_read_timeout 60s;
      proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; } } }`,
  haproxy: (dir: string, port: number, to: readonly string[]) => `defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend in
  bind 127.0.0.1:${port} ssl crt ${dir}/lb.pem
  default_backend proxies
backend proxies
  balance roundrobin
${to.map((at, i) => `  server p${i} ${at}`).join('\n')}
`,
} as const

describe.skipIf(missing('ssh', 'nginx', 'haproxy'))('behind what ends TLS', () => {
  let cluster: Served
  let agent: Part | undefined
  let front: number
  let balancer: ChildProcess | undefined
  let env: Record<string, string>
  const ports: number[] = []

  beforeAll(async () => {
    front = await freePort()
    const address = `localhost:${front}`
    cluster = await served({ proxies: [address] })
    const { dir } = cluster.home
    const proxies = await Promise.all(
      ['proxy-1', 'proxy-2'].map((name) =>
        cluster.proxy(name, { more: { tls: 'off', public_addr: address } }),
      ),
    )
    ports.push(...proxies.map(({ address: at }) => Number(at.split(':')[1])))
    const tls = await serverTls()
    await writeFile(join(dir, 'lb.pem'), `${String(tls.options.cert)}${String(tls.options.key)}`)
    await writeFile(join(dir, 'lb-ca.pem'), tls.ca)
    env = { NODE_EXTRA_CA_CERTS: join(dir, 'lb-ca.pem') }
    await cluster.knows([address])
  })
  afterAll(() => cluster.close())

  // The second takes over the address of the first, which is gone: the agent comes back to both proxies by itself.
  test.each(['nginx', 'haproxy'] as const)(
    '%s: an agent reaches both proxies through one address, and ssh reaches the agent',
    async (kind) => {
      const before = agent?.said().length ?? 0
      await ended(balancer)
      const { dir } = cluster.home
      const config = join(dir, `${kind}.conf`)
      const to = ports.map((p) => `127.0.0.1:${p}`)
      await writeFile(config, CONFIG[kind](dir, front, to))
      balancer = cluster.launch(peer(kind), [kind === 'nginx' ? '-c' : '-f', config])
      agent ??= await cluster.agent('web-1', {
        type: 'node',
        services: { ssh_service: { enabled: true } },
        env,
      })
      const { log } = agent
      const said = (): string => agent?.said().slice(before) ?? ''
      const met = () =>
        new Set([...said().matchAll(/tunnel\.connected .*(px_\w+)/g)].map((m) => m[1]))
      while (met().size < 2) await lineOf(log, /tunnel\.connected/)
      // Round robin: the two of them land on different proxies.
      const both = [1, 2].map(() =>
        finish(cluster.launch('ssh', ['-F', cluster.sshConfig, 'web-1', 'echo through'], env)),
      )
      for (const one of await Promise.all(both))
        expect(one).toMatchObject({ code: 0, stdout: 'through\n' })
    },
  )
})

/** nginx leaves its workers behind when it is killed: SIGTERM ends them all. */
async function ended(child: ChildProcess | undefined): Promise<void> {
  if (!child) return
  const gone = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGTERM')
  await gone
}
