/** The CDK app: `cdk deploy` from a clone. Context values: infra/context.ts. */
import { App, Validations } from 'aws-cdk-lib'
import { AwsSolutionsChecks } from 'cdk-nag'
import { join } from 'node:path'
import { readArtefacts } from './artefacts.ts'
import { posternStacks } from './app.ts'
import { ContextError, readContext } from './context.ts'

try {
  const app = new App()
  const context = readContext(app.node, {
    region: process.env['CDK_DEFAULT_REGION'],
    account: process.env['CDK_DEFAULT_ACCOUNT'],
  })
  posternStacks(app, context, readArtefacts(join(import.meta.dirname, '../artefacts')))
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app))
  app.synth()
} catch (e) {
  if (!(e instanceof ContextError)) throw e
  process.stderr.write(`error: ${e.message}\n`)
  process.exitCode = 2
}
