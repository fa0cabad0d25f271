// The Terraform module says what the construct says. Without the AWS provider it can only be read, and formatted where Terraform is.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { optional } from '../support/peers.ts'

const read = (name: string) => readFileSync(`infra/terraform/agent-pool/${name}`, 'utf8')
const main = read('main.tf')
const variables = read('variables.tf')

test('every variable is described and checked', () => {
  const blocks = variables.split(/^variable /m).slice(1)
  expect(blocks.length).toBeGreaterThan(5)
  for (const block of blocks) {
    expect(block).toMatch(/description = "/)
    expect(block).toMatch(/validation \{[\s\S]*condition[\s\S]*error_message/)
  }
})
test('every variable is used, and every one that is used is declared', () => {
  const declared = [...variables.matchAll(/^variable "(\w+)"/gm)].map((m) => m[1])
  const used = [...`${main}${read('outputs.tf')}`.matchAll(/\bvar\.(\w+)/g)].map((m) => m[1])
  expect([...new Set(used)].sort()).toEqual(declared.sort())
})
test('instances ask for version 2 of the metadata service, have encrypted volumes, and let nobody dial in', () => {
  expect(main).toMatch(/http_tokens\s+= "required"/)
  expect(main).toMatch(/encrypted\s+= true/)
  expect(main).not.toMatch(/ingress/)
  expect(main).not.toMatch(/Action\s+= "\*"|Resource\s+= "\*"/)
})
test.skipIf(!optional('terraform'))('what terraform fmt would write', () => {
  const { status, stdout } = spawnSync('terraform', [
    'fmt',
    '-check',
    '-recursive',
    'infra/terraform',
  ])
  expect(status, String(stdout)).toBe(0)
})
