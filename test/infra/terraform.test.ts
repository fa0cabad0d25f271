// The Terraform module says what the construct says. It is read by HashiCorp's own parser; the AWS provider, which alone knows its
// resources' arguments, is not there.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { beforeAll, expect, test } from 'vitest'
import { able } from '../support/peers.ts'

// Its types bring those of browsers into every file.
const { parse } = createRequire(import.meta.url)('@cdktn/hcl2json') as {
  readonly parse: (name: string, text: string) => Promise<object>
}

const DIR = 'infra/terraform/agent-pool'
type Blocks = Record<string, Record<string, Record<string, unknown>[]>>
interface Module {
  readonly variable: Record<
    string,
    { description?: string; validation?: Condition[]; type: string }[]
  >
  readonly output: Record<string, { description?: string; value: string }[]>
  readonly locals: Record<string, unknown>[]
  readonly resource: Blocks
  readonly data: Blocks
}
interface Condition {
  readonly condition: string
  readonly error_message: string
}
let tf: Module
beforeAll(async () => {
  const files = readdirSync(DIR).filter((name) => name.endsWith('.tf'))
  const parsed = await Promise.all(
    files.map(async (name) => parse(name, readFileSync(`${DIR}/${name}`, 'utf8'))),
  )
  tf = Object.assign({}, ...parsed) as Module
})
const text = () => JSON.stringify(tf)
const found = (pattern: RegExp): string[] => [
  ...new Set([...text().matchAll(pattern)].map((m) => m.slice(1).join('.'))),
]
const only = (type: string): Record<string, unknown> => {
  const [block] = Object.values(tf.resource[type] ?? {})
  return block?.[0] ?? {}
}
const inner = (block: Record<string, unknown>, ...path: string[]): Record<string, unknown> =>
  path.reduce((at, name) => (at[name] as Record<string, unknown>[] | undefined)?.[0] ?? {}, block)

test('every variable is typed, described and checked, with a sentence for a wrong value', () => {
  expect(Object.keys(tf.variable).length).toBeGreaterThan(5)
  for (const [name, [variable]] of Object.entries(tf.variable)) {
    expect(variable?.type, name).toBeTruthy()
    expect(variable?.description, name).toMatch(/\w{3}/)
    for (const { condition, error_message } of variable?.validation ?? []) {
      expect(condition, name).toContain(`var.${name}`)
      expect(error_message, name).toMatch(/\w{3}.{10,}/)
    }
    expect(variable?.validation?.length, name).toBeGreaterThan(0)
  }
})
test('whatever is referred to is there, and every variable and local is used', () => {
  expect(found(/\bvar\.(\w+)/g).sort()).toEqual(Object.keys(tf.variable).sort())
  expect(found(/\blocal\.(\w+)/g).sort()).toEqual(tf.locals.flatMap((l) => Object.keys(l)).sort())
  const names = (blocks: Blocks) =>
    Object.entries(blocks).flatMap(([type, made]) => Object.keys(made).map((n) => `${type}.${n}`))
  const data = found(/\bdata\.(aws_\w+)\.(\w+)/g)
  expect(data.sort()).toEqual(names(tf.data).sort())
  const resources = found(/(?<!data\.)\b(aws_\w+)\.(\w+)/g)
  expect(resources.filter((one) => !names(tf.resource).includes(one))).toEqual([])
})
test('instances ask for version 2 of the metadata service, have encrypted volumes, and let nobody dial in', () => {
  const template = only('aws_launch_template')
  expect(inner(template, 'metadata_options')).toMatchObject({
    http_tokens: 'required',
    http_put_response_hop_limit: 1,
  })
  expect(inner(template, 'block_device_mappings', 'ebs')['encrypted']).toBe(true)
  const group = only('aws_security_group')
  expect(Object.keys(group)).toContain('egress')
  expect(Object.keys(group)).not.toContain('ingress')
  expect(inner(only('aws_autoscaling_group'), 'instance_refresh')['strategy']).toBe('Rolling')
})
test('the role may fetch one object, and the rule lets in this role and account alone', () => {
  const policy = String(only('aws_iam_role_policy')['policy'])
  expect(policy.match(/Action\s*=\s*"([^"]+)"/g)).toEqual(['Action   = "s3:GetObject"'])
  expect(policy).not.toMatch(/"\*"/)
  const [token] = tf.locals.flatMap((l) => ('token' in l ? [JSON.stringify(l['token'])] : []))
  expect(token).toContain('assumed-role/${aws_iam_role.agent.name}/i-*')
  expect(token).toContain('data.aws_caller_identity.here.account_id')
})
test.skipIf(!able('terraform fmt', [['terraform', 'https://developer.hashicorp.com/terraform']]))(
  'what terraform fmt would write',
  () => {
    const { status, stdout } = spawnSync('terraform', [
      'fmt',
      '-check',
      '-recursive',
      'infra/terraform',
    ])
    expect(status, String(stdout)).toBe(0)
  },
)
