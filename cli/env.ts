/** The environment variables that the command reads, all of them here. */
import { forwardProxy, type ForwardProxy } from '../net/forward-proxy.ts'

export interface Env {
  /** A profile's directory, or its name under ~/.postern. */
  readonly profile: string | undefined
  readonly home: string | undefined
  /** Name of the login, as a last resort where the system does not tell. */
  readonly user: string | undefined
  /** An API key or an id token to call the API with, instead of the profile's user. */
  readonly token: string | undefined
  /** Address of the cluster for `token`, where there is no profile. */
  readonly address: string | undefined
  /** Pins of its CA, commas between; without one its TLS certificate must be one that the system trusts. */
  readonly caPin: string | undefined
  /** For `edit`. */
  readonly editor: string | undefined
  /** The forward proxy for outgoing connections: HTTPS_PROXY and NO_PROXY. */
  readonly httpsProxy: ForwardProxy
  /** Where the table is, as the AWS SDK reads it, and the region that its requests are signed for. */
  readonly dynamoEndpoint: string | undefined
  readonly region: string | undefined
  /** Everything, for join methods: what CI systems and clouds tell about this machine. */
  readonly all: Readonly<Record<string, string | undefined>>
  /** Where the ssh-agent listens. */
  readonly sshAuthSock: string | undefined
  readonly noColor: boolean
  /** Prints the stack of what went wrong. */
  readonly debug: boolean
}

const text = (value: string | undefined): string | undefined => (value === '' ? undefined : value)

export function readEnv(env: Readonly<Record<string, string | undefined>> = process.env): Env {
  return {
    profile: text(env['POSTERN_PROFILE']),
    home: text(env['HOME']),
    user: text(env['USER']),
    httpsProxy: forwardProxy(env),
    token: text(env['POSTERN_TOKEN'])?.trim(),
    address: text(env['POSTERN_ADDRESS']),
    caPin: text(env['POSTERN_CA_PIN']),
    editor: text(env['VISUAL']) ?? text(env['EDITOR']),
    dynamoEndpoint: text(env['AWS_ENDPOINT_URL_DYNAMODB']) ?? text(env['AWS_ENDPOINT_URL']),
    region: text(env['AWS_REGION']) ?? text(env['AWS_DEFAULT_REGION']),
    all: env,
    sshAuthSock: text(env['SSH_AUTH_SOCK']),
    // https://no-color.org: any value but the empty one.
    noColor: text(env['NO_COLOR']) !== undefined || env['TERM'] === 'dumb',
    debug: text(env['POSTERN_DEBUG']) !== undefined,
  }
}
