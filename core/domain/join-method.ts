/** The names of the join methods. Apart from their rules, because an agent names its method long before it needs any. */

/** Methods whose evidence is an id token, each with rules in a block of its name. */
export const OIDC_METHODS = [
  'github',
  'gitlab',
  'kubernetes',
  'circleci',
  'buildkite',
  'terraform_cloud',
  'spacelift',
  'bitbucket',
  'azure_devops',
  'gcp',
  'oidc',
] as const
export type OidcMethodName = (typeof OIDC_METHODS)[number]
/** Methods whose rules stand in a block of their name in the spec of a token. */
export const BLOCK_METHODS = [...OIDC_METHODS, 'azure', 'tpm'] as const
export type BlockMethodName = (typeof BLOCK_METHODS)[number]
export const JOIN_METHODS = ['token', 'iam', 'ec2', 'bound_keypair', ...BLOCK_METHODS] as const
export type JoinMethodName = (typeof JOIN_METHODS)[number]
