#!/usr/bin/env node
/**
 * Starts the `postern` command. In a checkout it builds first when a source changed; an installed package carries no sources
 * and runs its build as it is. Every ssh connection passes here, so it does nothing else.
 */
import { fingerprint, readStamp, sources } from './sources.mjs'

const files = sources()
let build = readStamp()
if (files.length > 0 && build?.fingerprint !== fingerprint(files)) {
  const { ensureBuilt } = await import('./build.mjs')
  try {
    build = { build: await ensureBuilt() }
  } catch (e) {
    process.stderr.write(`error: postern cannot be built from this checkout\n${e.message}\n`)
    process.stderr.write('hint: run npm ci; npm run build shows the same messages\n')
    process.exit(1)
  }
}
if (!build) {
  process.stderr.write('error: this package carries neither a build nor its sources\n')
  process.exit(1)
}
// The SDK's notice about Node 20 tells an operator nothing that package.json's engines do not decide.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
await import(`../dist/${build.build}/postern.mjs`)
