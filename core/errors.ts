/**
 * One error class and one table of codes. docs/errors.md, the CLI's hints and exit codes, HTTP statuses and WebSocket close
 * codes are all derived from `ERRORS`; a test fails when a code is unused.
 *
 * `message` is safe for whoever caused the error. What only we may see goes into `internal` or `cause`, which logs and the
 * audit log read and no answer ever carries.
 */

/** Exit codes of the `postern` command (contract, section 5). */
export type ExitCode = 1 | 2 | 3 | 4 | 5

export interface ErrorKind {
  /** HTTP status of the problem+json answer. */
  readonly status: number
  /** Whether the same call may succeed later without a change by the caller. */
  readonly retryable: boolean
  readonly exitCode: ExitCode
  /** WebSocket close code, RFC 6455 section 7.4 (4000 to 4999 are ours). */
  readonly wsClose: number
  /** Whose move it is. */
  readonly owner: 'caller' | 'us' | 'upstream'
  readonly title: string
  /** What to do about it, printed as `hint:` by the command. */
  readonly hint: string
}

const caller = (
  status: number,
  title: string,
  hint: string,
  exitCode: ExitCode = 1,
): ErrorKind => ({
  status,
  retryable: false,
  exitCode,
  wsClose: 4000 + status,
  owner: 'caller',
  title,
  hint,
})
const again = (kind: ErrorKind, owner: ErrorKind['owner'] = 'us'): ErrorKind => ({
  ...kind,
  retryable: true,
  owner,
})

export const ERRORS = {
  ERR_INTERNAL: again(
    caller(500, 'Something broke on our side', 'Try again; if it stays, report the request id.'),
  ),
  ERR_INPUT_INVALID: caller(400, 'A field is wrong', 'Correct the field that is named.', 2),
  ERR_INPUT_TOO_LARGE: caller(
    413,
    'The input is too large',
    'docs/limits.md lists every limit.',
    2,
  ),
  ERR_USAGE: caller(400, 'The command was called wrongly', 'Run the command with --help.', 2),
  ERR_CONFIG_INVALID: caller(
    400,
    'The configuration file is wrong',
    'docs/agent-config.md and docs/operations/proxies.md list every key.',
    2,
  ),
  ERR_METHOD_NOT_ALLOWED: caller(
    405,
    'That method is not allowed here',
    'See /v1/openapi.json.',
    2,
  ),
  ERR_NOT_FOUND: caller(
    404,
    'No such thing, or not for you',
    'Check the name with a list command.',
    4,
  ),
  ERR_CONFLICT: caller(
    409,
    'It exists already or was changed meanwhile',
    'Read it again, then repeat the change.',
  ),
  ERR_RESTORE_TARGET: caller(
    409,
    'The table cannot take this backup',
    'Name a new --data-dir or table. A restore that was broken off goes on with the very file that it began with.',
  ),
  ERR_IDEMPOTENCY_MISMATCH: caller(
    409,
    'This Idempotency-Key was used for another request',
    'Use a fresh key for a different request.',
  ),
  ERR_UNAUTHENTICATED: caller(
    401,
    'Sign in first',
    'Run postern login, or send a valid API key.',
    3,
  ),
  ERR_FORBIDDEN: caller(403, 'That is not allowed for you', 'Ask for a role that grants it.', 3),
  ERR_RATE_LIMITED: again(
    caller(
      429,
      'Too many requests',
      'Wait for the seconds in retry-after, or a few; then try again.',
    ),
  ),
  ERR_TIMEOUT: again(
    caller(504, 'It took too long', 'Try again; postern doctor tests every hop.', 5),
    'upstream',
  ),
  ERR_UNREACHABLE: again(
    caller(503, 'The other end cannot be reached', 'Check the address and the network.', 5),
    'upstream',
  ),
  ERR_GATEWAY: again(
    caller(
      503,
      'The control plane does not answer; what is in front of it does',
      'Try again in a minute. If it stays, its operator finds out why: postern doctor --aws.',
      5,
    ),
    'upstream',
  ),
  // A person is told at once; an agent goes on trying, for its proxy may be mended without it.
  ERR_FORWARD_PROXY: again(
    caller(
      502,
      'The forward proxy does not let this through',
      'Check the login in HTTPS_PROXY and that it allows CONNECT to the address; NO_PROXY takes an address out.',
      5,
    ),
    'caller',
  ),
  ERR_CLOCK: again(
    caller(401, 'The clocks disagree', 'Set the clock of this machine (NTP).', 3),
    'caller',
  ),
  ERR_PROOF_INVALID: caller(
    401,
    'The proof of possession does not hold',
    'Sign in or join again.',
    3,
  ),
  ERR_CA_PIN_MISMATCH: caller(
    400,
    'The cluster does not show the pinned CA',
    'Compare ca_pin with what tokens add printed; somebody may be in between.',
    3,
  ),

  ERR_JOIN_REFUSED: caller(
    403,
    'The join was refused',
    'Mint a fresh token; the audit log of the cluster has the exact reason.',
    3,
  ),
  ERR_JOIN_SERVICE_NOT_ALLOWED: caller(
    403,
    'The token does not allow this service',
    'Mint a token whose roles include the service.',
    3,
  ),
  ERR_JOIN_CHALLENGE_INVALID: again(
    caller(400, 'The join challenge is not valid any more', 'Ask for a new challenge.', 3),
    'caller',
  ),
  ERR_JOIN_METHOD_UNSUPPORTED: caller(
    400,
    'That join method is not supported here',
    'Use one of the join methods that /v1/ping lists.',
    2,
  ),
  ERR_NAME_TAKEN: caller(
    409,
    'Another agent holds this name',
    'Choose another nodename, or remove the other agent first.',
    3,
  ),
  ERR_TOKEN_NEEDED: caller(
    400,
    'This agent has no identity yet and no token to get one',
    'Set auth_token in the configuration.',
    2,
  ),
  ERR_TOKEN_AWAITED: again(
    caller(
      400,
      'The file with the join token is not there yet',
      'Write the token into the file that auth_token names; the agent looks for it.',
      2,
    ),
    'caller',
  ),
  ERR_EVIDENCE_MISSING: again(
    caller(
      400,
      'This machine cannot show what the join method asks for',
      'See the page of the method in docs/join.',
      2,
    ),
    'caller',
  ),
  ERR_RENEWAL_REFUSED: caller(
    403,
    'The identity cannot be renewed',
    'It expired, was locked or was copied: delete data_dir and join again with a fresh token.',
    3,
  ),
  ERR_LOCKED: caller(403, 'A lock is in force', 'Ask an operator; postern get locks shows it.', 3),

  ERR_CERT_INVALID: caller(
    400,
    'The certificate does not hold',
    'Get a new one: postern login, or re-join the agent.',
    3,
  ),
  ERR_CERT_REQUEST_REFUSED: caller(
    400,
    'Such a certificate is never signed',
    'See the rules in docs/concepts.md.',
    3,
  ),
  ERR_CERT_TTL_TOO_LONG: caller(
    400,
    'The lifetime asked for is above the limit',
    'docs/limits.md lists the longest lifetimes.',
    2,
  ),
  ERR_KEY_ENROLLED: caller(
    409,
    'This public key belongs to another agent',
    'Make a new key; delete data_dir if it was copied.',
    3,
  ),

  ERR_LOGIN_FAILED: caller(
    401,
    'User or password is wrong',
    'Try again, or ask an operator to reset the password.',
    3,
  ),

  ERR_TUNNEL_PROTOCOL: caller(
    400,
    'The peer broke the tunnel protocol',
    'Both sides must run a compatible version.',
  ),
  ERR_TUNNEL_VERSION: caller(
    400,
    'No common version of the tunnel protocol',
    'Update the older side.',
  ),
  ERR_TUNNEL_HANDSHAKE: caller(
    401,
    'The tunnel handshake failed',
    'The certificate expired or is for another cluster: join or log in again.',
    3,
  ),
  ERR_TUNNEL_CLOSED: again(
    caller(503, 'The tunnel was closed', 'It reconnects by itself.', 5),
    'upstream',
  ),
  ERR_TUNNEL_ALREADY_HERE: again(
    caller(
      409,
      'This proxy has a tunnel of this agent already',
      'The agent dials again by itself.',
    ),
    'caller',
  ),
  ERR_PROXY_BUSY: again(
    caller(503, 'The proxy takes no new tunnels now', 'It is full or leaving: try again soon.', 5),
  ),
  ERR_STREAM_RESET: again(
    caller(503, 'The stream was reset by the other side', 'Try again.', 5),
    'upstream',
  ),

  ERR_ROUTE_INVALID: caller(
    403,
    'The route is not valid',
    'Routes last five minutes: ask for a new one.',
    3,
  ),
  ERR_RESOURCE_OFFLINE: again(
    caller(
      503,
      'No agent that serves this resource is online',
      'postern ls shows when it was last seen.',
      5,
    ),
    'upstream',
  ),
  ERR_ACCESS_DENIED: caller(403, 'Access denied', 'postern ls shows what you may reach.', 3),
  ERR_UPSTREAM_UNREACHABLE: again(
    caller(
      502,
      'The agent cannot reach the target',
      'Check the uri of the resource on the agent.',
      5,
    ),
    'upstream',
  ),

  ERR_CLUSTER_NEW: again(
    caller(
      503,
      'This cluster has not been set up yet',
      'Run the postern bootstrap command that the deployment printed.',
    ),
    'caller',
  ),
  ERR_STORE_NEWER: caller(
    503,
    'The table was written by a newer release',
    'Run that release or a later one; docs/operations/run.md.',
  ),
  ERR_STORE_RESTORING: caller(
    503,
    'A backup is being restored into the table',
    'Let postern restore finish, or run it again with the same file.',
  ),
  ERR_DATA_DIR_HELD: caller(
    409,
    'Another process holds this data directory',
    'Stop that process or use another --data-dir.',
  ),
  ERR_DATA_DIR_UNSAFE: caller(
    400,
    'The data directory is not private',
    'Make it owned by this user with mode 0700.',
  ),
  ERR_ADDRESS_UNUSABLE: caller(
    409,
    'Nothing can listen on that address',
    'Stop the process that listens there, or choose another address with --listen.',
  ),
  ERR_PROFILE_MISSING: caller(
    401,
    'Not logged in to any cluster',
    'Run postern login --proxy HOST, or postern up to start one here.',
    3,
  ),
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERRORS

/** Which field was wrong, and what it should be. `path` is dotted, as `spec.roles.0`. */
export interface FieldIssue {
  readonly path: string
  readonly message: string
}

/** Extra, caller-safe fields of the answer. Values are JSON. */
export interface ErrorDetails {
  readonly issues?: readonly FieldIssue[]
  /** Seconds to wait, sent as retry-after. */
  readonly retryAfter?: number
  /** Server time, epoch ms, with ERR_CLOCK. */
  readonly serverTime?: number
  readonly service?: string
  readonly roles?: readonly string[]
}

export interface AppErrorOptions {
  readonly details?: ErrorDetails
  /** For logs and the audit log only: the exact reason. Never sent to the caller. */
  readonly internal?: string
  readonly cause?: unknown
}

export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly details: ErrorDetails | undefined
  readonly internal: string | undefined

  constructor(code: ErrorCode, message?: string, options: AppErrorOptions = {}) {
    super(
      message ?? ERRORS[code].title,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.code = code
    this.details = options.details
    this.internal = options.internal
  }

  get kind(): ErrorKind {
    return ERRORS[this.code]
  }
}

export const isAppError = (e: unknown): e is AppError => e instanceof AppError

/** A failure as an AppError: what is not one becomes ERR_INTERNAL with the original as its cause. */
export function toAppError(e: unknown): AppError {
  return isAppError(e)
    ? e
    : new AppError('ERR_INTERNAL', undefined, { cause: e, internal: reasonOf(e) })
}

/** The exact reason, for logs and the audit log. */
export function reasonOf(e: unknown): string {
  if (isAppError(e)) return e.internal ?? e.message
  return e instanceof Error ? e.message : String(e)
}

/** For what cannot happen unless our own code is wrong. Surfaces as ERR_INTERNAL. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition)
    throw new AppError('ERR_INTERNAL', undefined, { internal: `invariant broken: ${what}` })
}

/** One wrong field of some input. */
export function badField(path: string, message: string): AppError {
  return new AppError('ERR_INPUT_INVALID', `${path}: ${message}`, {
    details: { issues: [{ path, message }] },
  })
}
