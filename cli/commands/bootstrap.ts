/**
 * `postern bootstrap --stack NAME`: the first operator of a deployed cluster, by the AWS credentials that deployed it; break-glass when
 * it is run again. Signs in at the end, so that the next command works.
 */
import path from 'node:path'
import {
  bootstrapAnswer,
  BOOTSTRAP_PATH,
  caCertificateAnswer,
  HOST_CA_PATH,
  USER_CA_PATH,
  type BootstrapAnswer,
} from '../../core/api/bootstrap.ts'
import { userCertificates } from '../../core/api/login.ts'
import { signV4 } from '../../core/aws/sigv4.ts'
import { generateKey, spki } from '../../core/certs/signer.ts'
import { fromSeconds, iso } from '../../core/clock.ts'
import { caBundle } from '../../core/domain/cluster.ts'
import { AppError, isAppError } from '../../core/errors.ts'
import { parse } from '../../core/parse.ts'
import { apiClient, type ApiClient } from '../../net/http-client.ts'
import { systemTrust } from '../../net/trust.ts'
import { outputOf, readStack, type DeployedStack } from '../aws/stack.ts'
import { callsOf } from '../client.ts'
import type { Cli } from '../cli.ts'
import { saveProfile } from '../connect/profile.ts'
import { words } from '../host.ts'
import { setCurrent } from '../profiles.ts'
import { knownHosts, sshConfigFile } from '../ssh-config.ts'
import { HintedError } from '../ui/report.ts'
import { loginName } from '../login-name.ts'

export interface BootstrapOptions {
  readonly stack: string
  readonly region?: string | undefined
  readonly user?: string | undefined
  readonly logins?: string | undefined
  readonly json?: true | undefined
}

const from = { code: 'ERR_INTERNAL' } as const

async function signedClient(cli: Cli, stack: DeployedStack, api: string): Promise<ApiClient> {
  const credentials = await stack.credentials()
  return apiClient({
    baseUrl: api,
    trust: systemTrust,
    ...callsOf(cli),
    sign: ({ method, url, body, now }) => {
      const request = { method, host: url.host, path: url.pathname, headers: {}, body }
      const scope = { region: stack.region, service: 'execute-api' }
      return signV4(request, scope, credentials, now)
    },
  })
}

/** As long as there is no cluster, the two verbs that hold its CA keys certify them. */
async function mint(client: ApiClient, asked: Record<string, unknown>): Promise<BootstrapAnswer> {
  const certificate = async (at: string): Promise<string> =>
    parse(caCertificateAnswer, await client.request('POST', at, {}), from).certificate
  try {
    return parse(bootstrapAnswer, await client.request('POST', BOOTSTRAP_PATH, asked), from)
  } catch (e) {
    if (!isAppError(e) || e.code !== 'ERR_CLUSTER_NEW') throw e
    const cas = {
      host_ca: await certificate(HOST_CA_PATH),
      user_ca: await certificate(USER_CA_PATH),
    }
    return parse(
      bootstrapAnswer,
      await client.request('POST', BOOTSTRAP_PATH, { ...asked, ...cas }),
      from,
    )
  }
}

/** Certificates and a profile, as `postern login` leaves them; the operator key is kept with them. */
async function signIn(cli: Cli, api: string, made: BootstrapAnswer): Promise<string> {
  const client = apiClient({
    baseUrl: api,
    trust: systemTrust,
    bearer: made.operator_key,
    ...callsOf(cli),
  })
  try {
    const cas = parse(caBundle, await client.request('GET', '/v1/ca'), from)
    const key = generateKey()
    const answer = parse(
      userCertificates,
      await client.request('POST', '/v1/certs', {
        public_key: spki(key.publicKey).toString('base64url'),
        user: made.user,
      }),
      from,
    )
    const dir = path.join(cli.home, made.cluster)
    await saveProfile(dir, {
      cluster: made.cluster,
      api,
      proxies: answer.proxies,
      user: made.user,
      caPins: [],
      expires: fromSeconds(answer.expires),
      hostCas: cas.host.x509,
      keyPem: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      certificatePem: answer.x509,
      sshCertificate: answer.ssh,
      knownHosts: knownHosts(made.cluster, cas.host.ssh),
      sshConfig: sshConfigFile({ cluster: made.cluster, profileDir: dir, self: cli.self }),
      policyKeys: cas.policy,
      caVersion: cas.ca_version,
      operatorKey: made.operator_key,
    })
    await setCurrent(cli, made.cluster)
    return `signed in until ${iso(fromSeconds(answer.expires))}; the profile is ${dir}`
  } finally {
    client.close()
  }
}

export async function bootstrap(cli: Cli, options: BootstrapOptions): Promise<void> {
  const user = options.user ?? loginName(cli)
  const stack = await readStack(options.stack, options.region)
  const api = outputOf(stack, 'ApiUrl')
  const logins = options.logins === undefined ? [user] : words(options.logins)
  const client = await signedClient(cli, stack, api)
  let made: BootstrapAnswer
  try {
    made = await mint(client, { user, logins })
  } catch (e) {
    if (!isAppError(e) || e.code !== 'ERR_FORBIDDEN') throw e
    throw new HintedError(
      new AppError('ERR_FORBIDDEN', 'AWS does not let this identity call the API', { cause: e }),
      'it needs execute-api:Invoke on POST /v1/bootstrap and below, in the account of the stack',
    )
  } finally {
    client.close()
  }
  const { operator_key: operatorKey, ca_pins: pins, ...rest } = made
  if (options.json) {
    cli.out(JSON.stringify({ ...rest, api, operator_key: operatorKey, ca_pins: pins }, null, 2))
  } else {
    cli.out(`cluster  ${made.cluster}${made.created ? ', made just now' : ''}`)
    cli.out(`api      ${api}`)
    cli.out(`user     ${made.user} (${made.roles.join(', ')})`)
    cli.out(`key      ${operatorKey}`)
    for (const pin of pins) cli.out(`ca pin   ${pin}`)
    cli.note('')
    cli.note(
      'The operator key may do everything and is not shown again; it is kept in the profile.',
    )
  }
  // The key first: whatever happens now, it is on the screen.
  cli.note(await signIn(cli, api, made))
  cli.note('Next: postern tokens add --type=node')
}
