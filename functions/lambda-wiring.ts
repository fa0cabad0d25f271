/**
 * The same verbs in the cloud: the table in DynamoDB, keys in KMS. Each verb's deps are made by a function of their own, so that
 * its Lambda asks KMS only for the keys its role may use.
 */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { KMSClient } from '@aws-sdk/client-kms'
import { HOST_CA_PATH, USER_CA_PATH } from '../core/api/bootstrap.ts'
import { systemClock } from '../core/clock.ts'
import { CA_KINDS, type CaKind } from '../core/domain/ca.ts'
import { AppError } from '../core/errors.ts'
import { publishedSigningKeys } from '../core/join/azure/attested.ts'
import { publishedIidKeys } from '../core/join/ec2.ts'
import { joinKeyOf } from '../core/join/sealed-call.ts'
import { systemRandom } from '../core/random.ts'
import { createSealer, deriveKey } from '../core/seal.ts'
import { VERSION } from '../core/version.ts'
import { firstState, openLiveCas, type SigningCas } from './ca/live.ts'
import type { ApiDeps, BaseDeps, JoinDeps, LoginDeps, PolicyDeps, RotateDeps } from './deps.ts'
import { bucketDownloads, type Downloads } from './install/downloads.ts'
import { need, ownCredentials, readEnv, type FunctionEnv } from './env.ts'
import { createArmClient } from './join/arm.ts'
import { createTokenReviewer } from './join/token-review.ts'
import { createStsClient } from './join/sts.ts'
import { lambdaLog } from './lambda-log.ts'
import { createIssuerKeys } from './join/issuer-keys.ts'
import { createPasswordHasher } from './login/password.ts'
import { createRateLimiter } from './middleware/rate-limit.ts'
import { kmsKeyring } from './signers/kms-keyring.ts'
import { kmsSecret, kmsSigner } from './signers/kms.ts'
import { initialKeys } from './signers/public-cas.ts'
import { openStores } from './store/open.ts'
import type { Stores } from './store/stores.ts'

export const log = lambdaLog

interface Cloud {
  readonly env: FunctionEnv
  readonly kms: KMSClient
  readonly base: BaseDeps
  readonly stores: Stores
  readonly cas: SigningCas
}

/** Where a verb is told of the key that the deployment was made with. */
const INITIAL_KEY = {
  host: 'POSTERN_HOST_CA_KEY',
  user: 'POSTERN_USER_CA_KEY',
  policy: 'POSTERN_POLICY_KEY',
} as const
const storesOf = (env: FunctionEnv, secret: Uint8Array): Stores =>
  openStores({
    client: new DynamoDBClient({}),
    tableName: env.POSTERN_TABLE,
    cursorKey: deriveKey(secret, 'cursor'),
    clock: systemClock,
    random: systemRandom,
  })

/** `secret` is for verbs that page through lists or seal; the others never open a cursor. */
async function open(
  env: FunctionEnv,
  kms: KMSClient,
  secret: Uint8Array,
  signs: readonly CaKind[] = [],
): Promise<Cloud> {
  const clock = systemClock
  const random = systemRandom
  const stores = storesOf(env, secret)
  const row = await stores.cluster.get()
  if (!row) throw new AppError('ERR_CLUSTER_NEW')
  const initial = row.cas && initialKeys(row.cas, row.created)
  const cas = await openLiveCas({
    store: stores.cas,
    keyring: kmsKeyring(kms, row.name, (kind) => env[INITIAL_KEY[kind]]),
    signs,
    ...(initial ? { initial: CA_KINDS.map((kind) => firstState(kind, initial[kind])) } : {}),
    clock,
    log,
  })
  const base: BaseDeps = {
    cluster: row.name,
    version: VERSION,
    origins: () => env.POSTERN_ORIGINS,
    proxies: () => env.POSTERN_PROXIES,
    cas,
    clock,
    random,
    log,
    limiter: createRateLimiter(clock),
  }
  return { env, kms, base, stores, cas }
}

const connect = (): { env: FunctionEnv; kms: KMSClient } => ({
  env: readEnv(),
  kms: new KMSClient({}),
})

/** Verbs that hand out no cursor seal nothing with it; a fresh one serves. */
const noSecret = (): Uint8Array => systemRandom.bytes(32)

/** The function's own credentials sign the URLs, and end with them. */
function downloadsOf(env: FunctionEnv): Downloads | undefined {
  const { POSTERN_DOWNLOADS: archives, AWS_REGION: region } = env
  if (!archives || region === undefined) return undefined
  return bucketDownloads({ archives, region, credentials: ownCredentials, clock: systemClock })
}

export async function apiDeps(): Promise<ApiDeps> {
  const { env, kms } = connect()
  const secret = await kmsSecret(kms, need(env, 'POSTERN_SEAL_KEY'), 'api')
  const { base, stores } = await open(env, kms, secret)
  const answerSealer = createSealer(deriveKey(secret, 'answer'))
  return {
    ...base,
    stores,
    answerSealer,
    downloads: downloadsOf(env),
    issuerKeys: createIssuerKeys(base),
    // The function `rotate` makes it when it is told to.
    jwtKeys: async () => {
      const key = await stores.cas.jwtKey()
      return key ? [key.jwk] : []
    },
    passwords: createPasswordHasher(),
  }
}

export async function joinDeps(): Promise<JoinDeps> {
  const { env, kms } = connect()
  const secret = await kmsSecret(kms, need(env, 'POSTERN_SEAL_KEY'), 'join')
  const { base, stores, cas } = await open(env, kms, noSecret(), ['host'])
  return {
    ...base,
    stores,
    hostCa: () => cas.authority('host'),
    sts: createStsClient({ clock: base.clock }),
    iidKeys: publishedIidKeys,
    issuerKeys: createIssuerKeys(base),
    reviewer: createTokenReviewer({ clock: base.clock, cluster: undefined }),
    arm: createArmClient(base),
    azureSigningKeys: publishedSigningKeys,
    challengeSealer: createSealer(deriveKey(secret, 'challenge')),
    joinKey: joinKeyOf(deriveKey(secret, 'join-key')),
  }
}

export async function loginDeps(): Promise<LoginDeps> {
  const { env, kms } = connect()
  const { base, stores, cas } = await open(env, kms, noSecret(), ['user'])
  return {
    ...base,
    stores,
    userCa: () => cas.authority('user'),
    passwords: createPasswordHasher(),
  }
}

export async function policyDeps(): Promise<PolicyDeps> {
  const { env, kms } = connect()
  const { base, stores, cas } = await open(env, kms, noSecret(), ['policy'])
  return { ...base, stores, policySigner: () => cas.signer('policy') }
}

/** The cursor of its one list never leaves the function. */
export async function rotateDeps(): Promise<RotateDeps> {
  const { env, kms } = connect()
  const { base, stores } = await open(env, kms, noSecret())
  const keyring = kmsKeyring(kms, base.cluster, () => undefined)
  return { ...base, stores, keyring }
}

/** Before there is a cluster: the verb certifies its own CA key, and nothing of the table is touched. */
async function caDeps(
  variable: 'POSTERN_HOST_CA_KEY' | 'POSTERN_USER_CA_KEY',
  ca: { readonly path: string; readonly commonName: string },
) {
  const { env, kms } = connect()
  const signer = await kmsSigner(kms, need(env, variable))
  return { clock: systemClock, random: systemRandom, log, ca: { ...ca, signer } }
}
export const hostCaDeps = () =>
  caDeps('POSTERN_HOST_CA_KEY', { path: HOST_CA_PATH, commonName: 'Postern host CA' })
export const userCaDeps = () =>
  caDeps('POSTERN_USER_CA_KEY', { path: USER_CA_PATH, commonName: 'Postern user CA' })

export async function bootstrapDeps() {
  const { env, kms } = connect()
  const keyOf = async (variable: Parameters<typeof need>[1]) =>
    (await kmsSigner(kms, need(env, variable))).publicKey
  const [host, user, policy] = await Promise.all([
    keyOf('POSTERN_HOST_CA_KEY'),
    keyOf('POSTERN_USER_CA_KEY'),
    keyOf('POSTERN_POLICY_KEY'),
  ])
  return {
    clock: systemClock,
    random: systemRandom,
    log,
    cluster: need(env, 'POSTERN_CLUSTER'),
    keys: { host, user, policy },
    stores: storesOf(env, noSecret()),
  }
}
