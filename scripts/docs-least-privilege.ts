/**
 * The page docs/least-privilege.md, made from the synthesised templates: what each part may do, and what whoever takes it over has then.
 * `npm run docs` writes it, a test holds it current.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { App, type Stack } from 'aws-cdk-lib'
import { KEY_ACCESS, type Verb } from '../functions/store/key-access.ts'
import { posternStacks } from '../infra/app.ts'
import type { Artefacts } from '../infra/artefacts.ts'
import { readContext } from '../infra/context.ts'
import { guardedByIam, ROUTES, type HttpVerb } from '../infra/routes.ts'

/** Role (by the beginning of its policy's logical id), and what a full compromise of the part gives. */
const PARTS: readonly {
  readonly verb: Verb
  readonly policy: string
  readonly gives: string
}[] = [
  {
    verb: 'api',
    policy: 'apiRole',
    gives:
      'Tokens, roles, users, locks: it can admit machines and widen roles, which every agent sees in the policy and the audit log. No certificate, no password hash, no session.',
  },
  {
    verb: 'join',
    policy: 'joinRole',
    gives:
      'Host certificates: it can pose as any agent or proxy of this cluster until the host CA is rotated. No user certificate, no role, no policy.',
  },
  {
    verb: 'login',
    policy: 'loginRole',
    gives:
      'User certificates: it can sign in as anybody for as long as a certificate lives, until the user CA is rotated. It reads password hashes. It changes no role, and agents still decide by the signed policy.',
  },
  {
    verb: 'policy',
    policy: 'policyRole',
    gives:
      'The policy: it can sign one that lets everybody who has a certificate reach everything, until the policy key is rotated. It makes no certificate.',
  },
  {
    verb: 'rotate',
    policy: 'rotateRole',
    gives:
      'The next CA: it can make keys, certify them with themselves and name them in the table, so agents come to trust what it made; and it can sign with keys that an earlier rotation made. Never with a key of the deployment. The strongest part: its calls are few, and each is in the audit log and in CloudTrail.',
  },
  {
    verb: 'bootstrap',
    policy: 'bootstrapRole',
    gives:
      'Operator keys: everything an operator may do. Reached by IAM callers of the account alone. It signs nothing.',
  },
  {
    verb: 'archive',
    policy: 'archiveRole',
    gives:
      'It reads the audit log and adds objects below `events/`. It cannot change or delete one.',
  },
  {
    verb: 'declare',
    policy: 'JoinRuledeclareRole',
    gives:
      'The one join token of its stack: it can admit machines as what that token is for. Called by CloudFormation alone. Here that of the proxies.',
  },
  {
    verb: 'proxy',
    policy: 'TaskTaskRole',
    gives:
      'Metadata and refusal of service: it sees who talks to which agent and can cut or withhold tunnels. Content is end to end; it cannot read, admit, certify or decide.',
  },
]

interface Statement {
  readonly Action: string | string[]
  readonly Resource: unknown
  readonly Condition?: Readonly<Record<string, unknown>>
}
type Resources = Readonly<
  Record<string, { Type: string; Properties: { PolicyDocument: { Statement: Statement[] } } }>
>
const listed = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value])

function standIns(): Artefacts {
  const dir = path.join(tmpdir(), 'postern-docs')
  mkdirSync(dir, { recursive: true })
  const one = (name: string) => {
    writeFileSync(path.join(dir, name), name)
    return { path: path.join(dir, name), sha256: '0'.repeat(64) }
  }
  return { agent: { x64: one('x64'), arm64: one('arm64') }, proxy: one('proxy') }
}

/** `Fn::GetAtt` and `Ref` as names, without the hash that the CDK adds. */
function nameOf(resource: unknown): string {
  const text = JSON.stringify(resource)
  if (text === '"*"') return 'any'
  if (text.includes(':key/*')) return 'keys with its tags'
  const [, id = ''] = /"(?:Fn::GetAtt":\["|Ref":")([A-Za-z0-9]+)/.exec(text) ?? []
  if (text.includes('/events/*')) return 'Records/events/*'
  if (id.startsWith('AWS') || text.includes('cdk-hnb659fds-assets')) return 'its archive'
  return id.replace(/[0-9A-F]{8}$/, '')
}

const CALLS_OF_OTHERS = /^(dynamodb|logs):/
function callsOf(resources: Resources, policy: string): string[] {
  const statements = Object.entries(resources)
    .filter(([id, r]) => r.Type === 'AWS::IAM::Policy' && id.startsWith(policy))
    .flatMap(([, r]) => r.Properties.PolicyDocument.Statement)
  const calls = statements.flatMap((s) =>
    listed(s.Action)
      .filter((action) => !CALLS_OF_OTHERS.test(action))
      .flatMap((action) => listed(s.Resource).map((r) => `\`${action}\` ${nameOf(r)}`)),
  )
  return [...new Set(calls)].sort()
}

const prefixes = (list: readonly string[]): string =>
  list.map((p) => `\`${p.endsWith('#') ? `${p}*` : p}\``).join(' ') || 'nothing'

export function leastPrivilegePage(): string {
  const { context } = JSON.parse(readFileSync('cdk.json', 'utf8')) as {
    context: Record<string, unknown>
  }
  const app: App = new App({ context: { ...context, 'aws:cdk:bundling-stacks': [] } })
  const stacks = posternStacks(app, readContext(app.node), standIns())
  const assembly = app.synth()
  const resourcesOf = (stack: Stack): Resources =>
    (assembly.getStackArtifact(stack.artifactId).template as { Resources: Resources }).Resources
  const all = { ...resourcesOf(stacks.plane), ...resourcesOf(stacks.proxies) }
  const rows = PARTS.map(({ verb, policy, gives }) => {
    const calls = callsOf(all, policy).join(', ') || 'nothing'
    const { read, write } = KEY_ACCESS[verb]
    return `| ${verb} | ${prefixes(read)} | ${prefixes(write)} | ${calls} | ${gives} |`
  })
  const routes = Object.entries(ROUTES).flatMap(([verb, keys]) =>
    keys.map((key) => {
      const who = guardedByIam(key) ? 'IAM callers of the account' : 'the function decides'
      return `| \`${key}\` | ${verb as HttpVerb} | ${who} |`
    }),
  )
  return `# Least privilege

Generated from the deployment's own templates by \`npm run docs\`; \`test/infra\` asserts the rules behind it.

Each function runs under a role of its own, and so does the proxy. The table is one, but IAM holds every role to its keys (\`dynamodb:LeadingKeys\`), without
Scan. No function but its own signs with a CA key of the deployment, not even when a cluster is set up (docs/adr/0045).

## What each part may do, and what a full compromise of it gives

| part | reads | writes | besides | a full compromise gives |
|---|---|---|---|---|
${rows.join('\n')}

What none of them has: the private half of any key (they stay in KMS), a secret in its environment, a way to widen its own role.

## What is public

Two endpoints: the HTTP API, and port 443 of the load balancer (in profile small: of the proxy). Every bucket is closed to the public; the table, the buckets, the
logs and the volumes of agents are encrypted.

| route of the API | function | who is let through |
|---|---|---|
${routes.join('\n')}
`
}

if (process.argv[1] === import.meta.filename)
  writeFileSync('docs/least-privilege.md', leastPrivilegePage())
