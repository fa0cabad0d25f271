// Resource files and the agent's configuration: whatever is in them is read or refused by name, in a bounded time and memory.
import { expect, test } from 'vitest'
import { parseAgentConfig } from '../../../agent/config.ts'
import { parseDocuments } from '../../../cli/commands/create.ts'
import { isAppError } from '../../../core/errors.ts'
import { bounded, boundedTimeout, mutate, type Chance } from '../../support/fuzz-bounds.ts'

/**
 * More memory than the 1 MiB of what comes from a network. These files are the operator's own, read by a command or at the start of an
 * agent; what the API is sent is JSON. The library makes some fifty objects for a line and a schema for each document: 7.5 KB for
 * `---`, 1 KB for an error about each wrong escape, 2 MB for forty times `? `, which costs it a power of its depth and is why depth
 * is looked at first (core/yaml-depth.ts).
 */
const BOUNDS = { few: 2_000, memory: 8 << 20 }

const SEEDS = [
  `kind: role
version: v1
metadata: { name: dba }
spec:
  allow:
    logins: [root, "{{internal.logins}}"]
    node_labels: { env: [prod, 'stage-*'], '*': '*' }
    rules: [{ resources: [token], verbs: [list, read] }]
---
kind: lock
spec: { target: { user: alice }, message: "gone, 'for' good" }
`,
  `version: v1
postern:
  nodename: web-1
  proxy_server: access.example.com:443
  ca_pin: sha256:0000000000000000000000000000000000000000000000000000000000000000
ssh_service: { enabled: true, labels: { env: prod } }
app_service:
  enabled: true
  apps: [{ name: wiki, uri: "tcp://127.0.0.1:80" }]
`,
].map((text) => Buffer.from(text))

/** Texts that readers of YAML are known to suffer from. */
function cruel(c: Chance): Buffer {
  const n = 1 + c.below(400)
  const aliases = Array.from({ length: 9 }, (_, i) =>
    i === 0
      ? 'a0: &a0 [x, x, x]'
      : `a${i}: &a${i} [*a${i - 1}, *a${i - 1}, *a${i - 1}, *a${i - 1}]`,
  ).join('\n')
  return Buffer.from(
    c.pick([
      aliases,
      '['.repeat(n),
      '{a: '.repeat(n),
      '- '.repeat(n),
      `${'---\n'.repeat(n)}kind: role`,
      `kind: &a [*a, *a]`,
      `kind: ${'!'.repeat(n)}x`,
      `? ${'? '.repeat(n)}`,
      `kind: "${'\\x'.repeat(n)}"`,
      `kind: role\n__proto__: { polluted: 1 }\nconstructor: { prototype: { polluted: 1 } }`,
      `<<: &b { <<: *b }\nkind: role`,
      `kind: |${n}\n  role`,
      '\t'.repeat(n),
      `%YAML ${n}.9\n---\nkind: role`,
    ]),
  )
}

function refusable(work: () => unknown): void {
  try {
    work()
  } catch (e) {
    expect(isAppError(e) && e.code !== 'ERR_INTERNAL', String(e)).toBe(true)
  }
}

test('resource files and configuration', { timeout: boundedTimeout }, async () => {
  await bounded(
    (c) => (c.below(8) === 0 ? cruel(c) : mutate(c.pick(SEEDS), c)),
    (input) => {
      const text = input.toString()
      refusable(() => parseDocuments(text))
      refusable(() => parseAgentConfig(text, { hostname: 'web-1' }))
      expect(({} as { polluted?: number }).polluted).toBeUndefined()
    },
    BOUNDS,
  )
})
