/** How functions are bundled: one ES module with the SDK inside. The benchmark of bundles builds them by the same lines. */
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '../..')

const instead = (name: string) => join(ROOT, 'functions/lambda-sdk', name)
/** Modules that are replaced in a bundle: parts of the SDK that no function uses. */
export const ALIASES: Readonly<Record<string, string>> = {
  '@aws-sdk/credential-provider-node': instead('env.ts'),
  '@aws-sdk/middleware-endpoint-discovery': instead('no-endpoint-discovery.ts'),
  '@smithy/core/event-streams': instead('no-event-streams.ts'),
}
export const BUNDLE = {
  target: 'node24',
  minify: true,
  mainFields: ['module', 'main'],
  banner: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);",
}
