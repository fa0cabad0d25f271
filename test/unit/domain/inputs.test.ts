// Every field of the resource files: what a wrong value gets is a path and a sentence, and nothing is ignored.
import { describe, expect, test } from 'vitest'
import { lockResource } from '../../../core/domain/lock.ts'
import { announcement } from '../../../core/domain/resource.ts'
import { ROLE_SUGGESTIONS, roleResource } from '../../../core/domain/role.ts'
import { TOKEN_SUGGESTIONS, tokenResource, tokenShort } from '../../../core/domain/token.ts'
import { userResource } from '../../../core/domain/user.ts'
import { isAppError } from '../../../core/errors.ts'
import { parse } from '../../../core/parse.ts'
import type * as z from 'zod'

type Broken = [what: string, path: string, change: (d: Doc) => void, says?: RegExp]
type Doc = Record<string, never> & {
  metadata: Record<string, unknown>
  spec: Record<string, unknown>
}

function refused(schema: z.ZodType, doc: unknown, suggest = {}) {
  try {
    parse(schema, doc, { suggest })
  } catch (e) {
    if (isAppError(e)) return e
    throw e
  }
  throw new Error('it was accepted')
}

function corpus(
  name: string,
  schema: z.ZodType,
  good: () => object,
  broken: Broken[],
  suggest = {},
) {
  describe(name, () => {
    test('the good one is accepted', () => {
      expect(() => parse(schema, good())).not.toThrow()
    })
    test.each(broken)('%s', (_what, path, change, says) => {
      const doc = good() as Doc
      change(doc)
      const error = refused(schema, doc, suggest)
      expect(error.code).toBe('ERR_INPUT_INVALID')
      expect(error.details?.issues?.map((i) => i.path)).toContain(path)
      if (says) expect(error.message).toMatch(says)
    })
    test.each([null, 7, 'text', [], true])('%j instead of a document', (doc) => {
      expect(refused(schema, doc).code).toBe('ERR_INPUT_INVALID')
    })
  })
}

const set = (o: object, key: string, value: unknown) => void Object.assign(o, { [key]: value })

corpus(
  'token',
  tokenResource,
  () => ({
    kind: 'token',
    version: 'v2',
    metadata: { name: 'web', expires: '2027-01-01T00:00:00Z' },
    spec: {
      roles: ['Node', 'app'],
      join_method: 'token',
      max_uses: 3,
      suggested_labels: { env: ['prod'] },
    },
  }),
  [
    ['another kind', 'kind', (d) => set(d, 'kind', 'role')],
    ['another version', 'version', (d) => set(d, 'version', 'v1')],
    ['a name with a slash', 'metadata.name', (d) => set(d.metadata, 'name', 'a/b')],
    ['a name with a newline', 'metadata.name', (d) => set(d.metadata, 'name', 'a\nb')],
    ['a date that is none', 'metadata.expires', (d) => set(d.metadata, 'expires', 'tomorrow')],
    ['an unknown role', 'spec.roles.0', (d) => set(d.spec, 'roles', ['Nod']), /unknown role/],
    ['a role named twice', 'spec.roles', (d) => set(d.spec, 'roles', ['Node', 'ssh']), /twice/],
    ['no role', 'spec.roles', (d) => set(d.spec, 'roles', [])],
    ['no uses', 'spec.max_uses', (d) => set(d.spec, 'max_uses', 0)],
    ['half a use', 'spec.max_uses', (d) => set(d.spec, 'max_uses', 1.5)],
    [
      'a join method of later',
      'spec.join_method',
      (d) => set(d.spec, 'join_method', 'magic'),
      /join methods/,
    ],
    ['no rule', 'spec.allow', (d) => set(d.spec, 'allow', []), /admit nobody/],
    ['a field of another program', 'spec.bot_name', (d) => set(d.spec, 'bot_name', 'b'), /bots/],
    ['a field with a typo', 'spec.max_use', (d) => set(d.spec, 'max_use', 1), /unknown field/],
    [
      'an upper-case allowed name',
      'spec.allowed_names.0',
      (d) => set(d.spec, 'allowed_names', ['Web']),
    ],
  ],
  TOKEN_SUGGESTIONS,
)

corpus('short token', tokenShort, () => ({ roles: ['Node'], ttl: '30m', max_uses: 1 }), [
  ['a lifetime without a unit', 'ttl', (d) => set(d, 'ttl', '30'), /duration/],
  ['a lifetime as a number', 'ttl', (d) => set(d, 'ttl', 30)],
  ['negative uses', 'max_uses', (d) => set(d, 'max_uses', -1)],
  ['roles as one word', 'roles', (d) => set(d, 'roles', 'Node')],
])

corpus(
  'role',
  roleResource,
  () => ({
    kind: 'role',
    version: 'v7',
    metadata: { name: 'dev' },
    spec: {
      allow: {
        logins: ['ann', '{{internal.logins}}'],
        node_labels: { env: 'dev' },
        app_labels: { '*': '*' },
      },
      deny: { logins: ['*'] },
      options: { max_session_ttl: '8h', forward_agent: true },
    },
  }),
  [
    ['version v2', 'version', (d) => set(d, 'version', 'v2')],
    [
      'a star as an allowed login',
      'spec.allow.logins.0',
      (d) => set(d.spec, 'allow', { logins: ['*'] }),
    ],
    [
      'a login that is an option',
      'spec.allow.logins.0',
      (d) => set(d.spec, 'allow', { logins: ['-oX'] }),
    ],
    [
      'labels as a list',
      'spec.allow.node_labels',
      (d) => set(d.spec, 'allow', { node_labels: ['env'] }),
    ],
    [
      'an empty label list',
      'spec.allow.node_labels.env',
      (d) => set(d.spec, 'allow', { node_labels: { env: [] } }),
    ],
    [
      'database rules',
      'spec.allow.db_labels',
      (d) => set(d.spec, 'allow', { db_labels: {} }),
      /not supported/,
    ],
    [
      'a label expression',
      'spec.allow.node_labels_expression',
      (d) => set(d.spec, 'allow', { node_labels_expression: '1' }),
      /use node_labels/,
    ],
    [
      'an unknown verb',
      'spec.allow.rules.0.verbs.0',
      (d) => set(d.spec, 'allow', { rules: [{ resources: ['token'], verbs: ['mint'] }] }),
    ],
    [
      'recording options',
      'spec.options.record_session',
      (d) => set(d.spec, 'options', { record_session: {} }),
      /not supported/,
    ],
    [
      'a session limit of zero',
      'spec.options.max_sessions',
      (d) => set(d.spec, 'options', { max_sessions: 0 }),
    ],
  ],
  ROLE_SUGGESTIONS,
)

corpus(
  'user',
  userResource,
  () => ({
    kind: 'user',
    version: 'v2',
    metadata: { name: 'ann@example.com' },
    spec: { roles: ['dev'], traits: { logins: ['ann'] } },
  }),
  [
    ['a name with a space', 'metadata.name', (d) => set(d.metadata, 'name', 'ann smith')],
    ['a name that climbs', 'metadata.name', (d) => set(d.metadata, 'name', '../root')],
    ['no roles', 'spec.roles', (d) => set(d.spec, 'roles', [])],
    [
      'a trait that is a text',
      'spec.traits.logins',
      (d) => set(d.spec, 'traits', { logins: 'ann' }),
    ],
  ],
)

corpus(
  'lock',
  lockResource,
  () => ({ kind: 'lock', version: 'v2', spec: { target: { user: 'ann' }, ttl: '1h' } }),
  [
    ['no target', 'spec.target', (d) => set(d.spec, 'target', {}), /exactly one/],
    [
      'two targets',
      'spec.target',
      (d) => set(d.spec, 'target', { user: 'a', role: 'b' }),
      /exactly one/,
    ],
    [
      'an agent by its name',
      'spec.target.agent',
      (d) => set(d.spec, 'target', { agent: 'web-1' }),
      /agent id/,
    ],
    ['a lifetime in words', 'spec.ttl', (d) => set(d.spec, 'ttl', 'an hour')],
  ],
)

test('an announcement names the resource that is wrong', () => {
  const error = refused(announcement, {
    resources: [{ kind: 'app', name: 'A', labels: {}, protocol: 'tcp' }],
  })
  expect(error.details?.issues?.[0]?.path).toBe('resources.0.name')
})
