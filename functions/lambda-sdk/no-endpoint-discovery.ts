/**
 * Bundled in place of `@aws-sdk/middleware-endpoint-discovery` (infra/constructs/bundling.ts): the client of DynamoDB sets it up with a
 * cache of its own, and no command of it asks. 10 KB less to load.
 */
export const resolveEndpointDiscoveryConfig = <T>(config: T): T => config
export const NODE_ENDPOINT_DISCOVERY_CONFIG_OPTIONS = {
  environmentVariableSelector: () => undefined,
  configFileSelector: () => undefined,
  default: undefined,
}
