// Load balancers that end TLS, without sticky sessions: nothing of ours depends on what they see.
import { writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { finish, lineOf } from '../cli/postern.ts'
import { missing, peer } from '../../support/peers.ts'
import { served, type Served } from '../../support/served.ts'
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

describe.skipIf(missing('ssh', 'nginx', 'haproxy')).each(['nginx', 'haproxy'] as const)(
  'behind %s, which ends TLS',
  (kind) => {
    let cluster: Served
    const ports: number[] = []

    beforeAll(async () => {
      const port = await freePort()
      const front = `localhost:${port}`
      cluster = await served({ proxies: [front] })
      const { dir } = cluster.home
      for (const name of ['proxy-1', 'proxy-2']) {
        const at = await cluster.proxy(name, { more: { tls: 'off', public_addr: front } })
        ports.push(Number(at.address.split(':')[1]))
      }
      const tls = await serverTls()
      await writeFile(join(dir, 'lb.pem'), `${String(tls.options.cert)}${String(tls.options.key)}`)
      await writeFile(join(dir, 'lb-ca.pem'), tls.ca)
      const to = ports.map((p) => `127.0.0.1:${p}`)
      await writeFile(join(dir, 'lb.conf'), CONFIG[kind](dir, port, to))
      cluster.launch(
        peer(kind),
        kind === 'nginx' ? ['-c', join(dir, 'lb.conf')] : ['-f', join(dir, 'lb.conf')],
      )
      await cluster.knows([front])
    }, 240_000)
    afterAll(() => cluster.close())

    test('an agent reaches both proxies behind one address, and ssh reaches the agent', async () => {
      const NODE_EXTRA_CA_CERTS = join(cluster.home.dir, 'lb-ca.pem')
      const agent = await cluster.agent('web-1', {
        type: 'node',
        services: { ssh_service: { enabled: true } },
        env: { NODE_EXTRA_CA_CERTS },
      })
      const met = () =>
        new Set([...agent.said().matchAll(/tunnel\.connected .*(px_\w+)/g)].map((m) => m[1]))
      while (met().size < 2) await lineOf(agent.log, /tunnel\.connected/)
      for (let i = 0; i < 3; i++) {
        const ssh = cluster.launch('ssh', ['-F', cluster.sshConfig, 'web-1', 'echo through'], {
          NODE_EXTRA_CA_CERTS,
        })
        expect(await finish(ssh)).toMatchObject({ code: 0, stdout: 'through\n' })
      }
    }, 240_000)
  },
)
