/**
 * Where a function's AWS credentials come from: its environment, and nowhere else. Bundled in place of the SDK's own chain
 * (infra/constructs/bundling.ts), whose other links (profiles, SSO, metadata services) no function uses: 130 KB less to load.
 */
interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** The one export of `@aws-sdk/credential-provider-node` that clients ask for. */
export const defaultProvider = () => (): Promise<Credentials> => {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = process.env
  if (accessKeyId === undefined || secretAccessKey === undefined)
    return Promise.reject(new Error('the environment of this function has no AWS credentials'))
  return Promise.resolve({
    accessKeyId,
    secretAccessKey,
    ...(sessionToken === undefined ? {} : { sessionToken }),
  })
}
