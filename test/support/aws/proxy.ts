/**
 * A proxy beside a deployed control plane: the real `postern serve proxy`, which joins by `iam` with the role of its task and reaches the
 * table under that role and no other. A balancer stands in front, as in a deployment.
 */
import { writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { KEY_ACCESS } from '../../../functions/store/key-access.ts'
import { keyStatements } from '../../../infra/constructs/key-grants.ts'
import { BIN, CHECKOUT, finish, start } from '../../integration/cli/postern.ts'
import type { Cloud } from './cloud.ts'
import type { Statement } from './iam.ts'
import { ACCOUNT } from './template.ts'

/** A TCP load balancer: its address is known before what stands behind it. */
export interface Balancer {
  /** `127.0.0.1:port`. */
  readonly address: string
  target: number | undefined
  close(): Promise<void>
}
export async function balancer(): Promise<Balancer> {
  const state: { target: number | undefined } = { target: undefined }
  const server = createServer((near) => {
    near.on('error', () => near.destroy())
    if (state.target === undefined) return void near.destroy()
    const far = connect(state.target, '127.0.0.1')
    far.on('error', () => near.destroy())
    far.on('close', () => near.destroy())
    near.on('close', () => far.destroy())
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get target() {
      return state.target
    },
    set target(port) {
      state.target = port
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export const PROXY_ROLE = `arn:aws:sts::${ACCOUNT}:assumed-role/PosternProxy/task`

export interface CloudProxy {
  /** Rejects when the process ends. */
  readonly ended: Promise<never>
  close(): Promise<void>
}

/** `token`: name of an `iam` token of role Proxy. `ca`: file with the API's CA. */
export async function startCloudProxy(options: {
  readonly cloud: Cloud
  readonly front: Balancer
  readonly token: string
  readonly ca: string
}): Promise<CloudProxy> {
  const { cloud, front } = options
  const role = cloud.session(
    'proxy',
    keyStatements(KEY_ACCESS.proxy, cloud.deployed.table.arn).map(
      (s) => s.toStatementJson() as unknown as Statement,
    ),
  )
  cloud.sts.principals.set(role['AWS_ACCESS_KEY_ID'] ?? '', {
    secretAccessKey: role['AWS_SECRET_ACCESS_KEY'] ?? '',
    sessionToken: role['AWS_SESSION_TOKEN'] ?? '',
    account: ACCOUNT,
    arn: PROXY_ROLE,
  })
  const port = await freePort()
  const file = join(cloud.dir, 'proxy.yaml')
  writeFileSync(
    file,
    [
      'version: v1',
      'postern:',
      '  nodename: proxy-1',
      `  data_dir: ${join(cloud.dir, 'proxy')}`,
      `  api_server: ${cloud.api.url.replace('https://', '')}`,
      `  join_params: { method: iam, token_name: ${options.token} }`,
      `store: { table: ${cloud.deployed.table.name} }`,
      `proxy_service: { listen_addr: '127.0.0.1:${port}', public_addr: '${front.address}', drain_timeout: 1s }`,
    ].join('\n'),
  )
  const child = start(process.execPath, [BIN, 'serve', 'proxy', '-c', file], {
    cwd: CHECKOUT,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: cloud.dir,
      NODE_EXTRA_CA_CERTS: options.ca,
      ...role,
    },
  })
  const done = finish(child)
  const ended = done.then(({ stdout, stderr }) => {
    throw new Error(`the proxy ended: ${stdout}${stderr}`)
  })
  ended.catch(() => undefined)
  front.target = port
  return {
    ended,
    async close() {
      front.target = undefined
      child.kill('SIGTERM')
      await done
    },
  }
}
