/** Other tunnels as baselines of the same path: a user's plain TCP, TLS 1.3 between two processes, plain TCP to the target. */
import { spawn, type ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../support/processes.ts'
import { echo } from './user.ts'
import { readWorld } from './world.ts'

export interface Path {
  /** Where users connect. */
  readonly users: number
  /** The processes between user and target. */
  readonly pids: readonly number[]
}

/** Waits until the path carries a byte there and back. */
export async function comesUp(users: number, name: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const up = await echo(users, 1).then(
      () => true,
      () => false,
    )
    if (up) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`${name} did not come up`)
}

async function two(
  name: string,
  near: readonly string[],
  far: readonly string[],
  users: number,
  children: ChildProcess[],
): Promise<Path> {
  const both = [far, near].map(([program = '', ...args]) =>
    spawn(program, args, { stdio: 'ignore' }),
  )
  children.push(...both)
  await comesUp(users, name)
  return { users, pids: both.map((child) => child.pid ?? 0) }
}

/** stunnel at both ends. */
export async function stunnelPath(
  dir: string,
  world: string,
  target: string,
  children: ChildProcess[],
): Promise<Path> {
  const { tls } = readWorld(world)
  writeFileSync(join(dir, 'stunnel.pem'), `${tls.key}\n${tls.cert}`, { mode: 0o600 })
  const [users, middle] = [await freePort(), await freePort()]
  const common =
    'foreground = yes\nsyslog = no\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n'
  const near = join(dir, 'stunnel-near.conf')
  const far = join(dir, 'stunnel-far.conf')
  writeFileSync(
    near,
    `${common}[t]\nclient = yes\naccept = 127.0.0.1:${users}\nconnect = 127.0.0.1:${middle}\n`,
  )
  writeFileSync(
    far,
    `${common}[t]\ncert = ${join(dir, 'stunnel.pem')}\naccept = 127.0.0.1:${middle}\nconnect = 127.0.0.1:${target}\n`,
  )
  return two('stunnel', ['stunnel4', near], ['stunnel4', far], users, children)
}

/** haproxy at both ends, a TLS connection for each stream. */
export async function haproxyPath(
  dir: string,
  world: string,
  target: string,
  children: ChildProcess[],
): Promise<Path> {
  const { tls } = readWorld(world)
  const pem = join(dir, 'haproxy.pem')
  writeFileSync(pem, `${tls.key}\n${tls.cert}`, { mode: 0o600 })
  const [users, middle] = [await freePort(), await freePort()]
  const common =
    'global\n  nbthread 1\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n'
  const near = join(dir, 'haproxy-near.cfg')
  const far = join(dir, 'haproxy-far.cfg')
  writeFileSync(
    near,
    `${common}listen a\n  bind 127.0.0.1:${users}\n  server s 127.0.0.1:${middle} ssl verify none\n`,
  )
  writeFileSync(
    far,
    `${common}listen b\n  bind 127.0.0.1:${middle} ssl crt ${pem}\n  server s 127.0.0.1:${target}\n`,
  )
  return two(
    'haproxy',
    ['/usr/sbin/haproxy', '-f', near],
    ['/usr/sbin/haproxy', '-f', far],
    users,
    children,
  )
}

/** nginx's stream module at both ends, a TLS connection for each stream. */
export async function nginxPath(
  dir: string,
  world: string,
  target: string,
  children: ChildProcess[],
): Promise<Path> {
  const { tls } = readWorld(world)
  writeFileSync(join(dir, 'nginx.key'), tls.key, { mode: 0o600 })
  writeFileSync(join(dir, 'nginx.crt'), tls.cert)
  const [users, middle] = [await freePort(), await freePort()]
  const conf = (name: string, server: string): string => {
    const file = join(dir, `nginx-${name}.conf`)
    writeFileSync(
      file,
      `daemon off; master_process off; pid ${dir}/nginx-${name}.pid; error_log ${dir}/nginx-${name}.log;\n` +
        'load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nevents { worker_connections 4096; }\n' +
        `stream { tcp_nodelay on; server { ${server} } }\n`,
    )
    return file
  }
  const near = conf(
    'near',
    `listen 127.0.0.1:${users}; proxy_pass 127.0.0.1:${middle}; proxy_ssl on;`,
  )
  const far = conf(
    'far',
    `listen 127.0.0.1:${middle} ssl; ssl_certificate ${dir}/nginx.crt; ssl_certificate_key ${dir}/nginx.key; proxy_pass 127.0.0.1:${target};`,
  )
  const run = (file: string) => ['/usr/sbin/nginx', '-p', dir, '-c', file]
  return two('nginx', run(near), run(far), users, children)
}
