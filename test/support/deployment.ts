/** The stacks as a test looks at them: synthesised offline, without bundling, with the flags of cdk.json. */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App } from 'aws-cdk-lib'
import { Template } from 'aws-cdk-lib/assertions'
import type { Artefact, Artefacts } from '../../infra/artefacts.ts'
import { posternStacks, type PosternStacks } from '../../infra/app.ts'
import { readContext, type DeployContext } from '../../infra/context.ts'

const { context: flags } = JSON.parse(readFileSync('cdk.json', 'utf8')) as {
  context: Record<string, unknown>
}

/** Files in place of the artefacts, the same every time. */
function standIns(): Artefacts {
  const dir = join(tmpdir(), 'postern-stand-ins')
  mkdirSync(dir, { recursive: true })
  const one = (name: string): Artefact => {
    const path = join(dir, name)
    writeFileSync(path, name)
    return { path, sha256: createHash('sha256').update(name).digest('hex') }
  }
  return {
    agent: { x64: one('agent-x64.tar.gz'), arm64: one('agent-arm64.tar.gz') },
    proxy: one('proxy.mjs'),
  }
}

export interface Deployment {
  readonly app: App
  readonly stacks: PosternStacks
  template(stack: keyof PosternStacks): Template
}

/** `given`: context values without their prefix. */
export function deployment(given: Record<string, string | number> = {}): Deployment {
  const ours = Object.entries(given).map(([name, value]) => [`postern:${name}`, value])
  const context: Record<string, unknown> = {
    ...flags,
    'aws:cdk:bundling-stacks': [],
    ...(Object.fromEntries(ours) as Record<string, string | number>),
  }
  const app: App = new App({ context })
  const stacks = posternStacks(app, readContext(app.node), standIns())
  return {
    app,
    stacks,
    template(name) {
      const stack = stacks[name]
      if (!stack) throw new Error(`there is no stack ${name}`)
      return Template.fromStack(stack)
    },
  }
}

/** What `readContext` says about these values and nothing else. */
export function contextOf(
  given: Record<string, unknown>,
  deployer?: { region?: string; account?: string },
): DeployContext {
  return readContext(
    { tryGetContext: (key: string) => given[key], getAllContext: () => given },
    deployer,
  )
}

export interface Statement {
  readonly Effect: string
  readonly Action: string | string[]
  readonly Resource: unknown
  readonly Condition?: Record<string, Record<string, unknown>>
}
export const listed = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value])

/** Statements of the policies whose logical id begins with `prefix`: a verb's role is `<verb>Role…`. */
export function statementsOf(template: Template, prefix: string): Statement[] {
  const policies = template.findResources('AWS::IAM::Policy') as Record<
    string,
    { Properties: { PolicyDocument: { Statement: Statement[] } } }
  >
  return Object.entries(policies)
    .filter(([id]) => id.startsWith(prefix))
    .flatMap(([, policy]) => policy.Properties.PolicyDocument.Statement)
}
