/** How functions are bundled: one ES module with the SDK inside. The benchmark of bundles builds them by the same lines. */
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '../..')

/** Modules that are replaced in a bundle. */
export const ALIASES: Readonly<Record<string, string>> = {
  '@aws-sdk/credential-provider-node': join(ROOT, 'functions/lambda-credentials/env.ts'),
}
export const BUNDLE = {
  target: 'node24',
  minify: true,
  mainFields: ['module', 'main'],
  banner: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);",
}
