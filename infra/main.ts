/** The CDK app: `cdk deploy` from a clone. Context values: infra/context.ts. */
import { App, Tags, Validations } from 'aws-cdk-lib'
import { AwsSolutionsChecks } from 'cdk-nag'
import { ContextError, readContext } from './context.ts'
import { ControlPlane } from './stacks/control-plane.ts'

try {
  const app = new App()
  new ControlPlane(app, 'Postern', readContext(app.node), {
    description: 'Postern control plane: functions, one table, signing keys',
  })
  Tags.of(app).add('postern', 'control-plane')
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app))
  app.synth()
} catch (e) {
  if (!(e instanceof ContextError)) throw e
  process.stderr.write(`error: ${e.message}\n`)
  process.exitCode = 2
}
