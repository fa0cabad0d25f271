// decide() is asked on the agent for every stream: each case is a promise to an auditor.
import { describe, expect, test } from 'vitest'
import { decide, type Question, type Want } from '../../../core/access/decide.ts'
import { instant } from '../../../core/clock.ts'
import type { Lock } from '../../../core/domain/lock.ts'
import { roleResource, toRole, type Role } from '../../../core/domain/role.ts'
import type { AgentId, LockId } from '../../../core/ids.ts'
import { parse } from '../../../core/parse.ts'

const role = (name: string, spec: object): Role =>
  toRole(parse(roleResource, { kind: 'role', version: 'v7', metadata: { name }, spec }))

const AGENT = 'ag_01jd0000000000000000000000' as AgentId
const NOW = instant(Date.UTC(2026, 10, 23))
const node = (
  login: string | undefined,
  labels: Record<string, string> = { env: 'dev' },
): Want => ({
  kind: 'node',
  labels,
  login,
})
const lock = (target: Lock['target'], expires?: number): Lock => ({
  id: 'lk_1' as LockId,
  target,
  message: undefined,
  created: NOW,
  createdBy: 'op',
  expires: expires === undefined ? undefined : instant(expires),
})

const dev = role('dev', { allow: { logins: ['ann'], node_labels: { env: 'dev' } } })
const prod = role('prod', {
  allow: { logins: ['deploy'], node_labels: { env: ['prod', 'stage*'] } },
})
const noRoot = role('no-root', { deny: { logins: ['root'] } })
const anyone = role('anyone', {
  allow: {
    logins: ['root', '{{internal.logins}}', '{{external.team}}'],
    node_labels: { '*': '*' },
    app_labels: { '*': '*' },
  },
  options: { forward_agent: true },
})
const noSecret = role('no-secret', {
  deny: { node_labels: { secret: '*' }, app_labels: { secret: '*' } },
})
const strict = role('strict', {
  allow: { logins: ['ann'], node_labels: { '*': '*' } },
  options: { lock: 'strict' },
})
const limited = role('limited', {
  allow: { logins: ['ann'], node_labels: { '*': '*' } },
  options: {
    port_forwarding: false,
    ssh_file_copy: false,
    max_sessions: 2,
    client_idle_timeout: '5m',
  },
})
const ALL = [dev, prod, noRoot, anyone, noSecret, strict, limited]

const ask = (roles: Role[], want: Want, change: Partial<Question> = {}) =>
  decide({
    user: 'ann',
    traits: { logins: ['ann'], team: ['sre', 'bad name', '-oProxyCommand=x'] },
    certificateRoles: roles.map((r) => r.name),
    certificateExpires: instant(NOW + 1000),
    currentRoles: roles.map((r) => r.name),
    roles: new Map(ALL.map((r) => [r.name, r])),
    locks: [],
    agentId: AGENT,
    want,
    now: NOW,
    viewAge: 0,
    strictAge: 300_000,
    ...change,
  })

describe('what is allowed', () => {
  test.each<[string, Role[], Want]>([
    ['login and labels in one role', [dev], node('ann')],
    ['a glob in a label value', [prod], node('deploy', { env: 'stage-2' })],
    ['a login from internal.logins', [anyone], node('ann')],
    ['a login from an external trait', [anyone], node('sre')],
    ['any login, when none is asked yet', [dev], node(undefined)],
    ['an app by its labels', [anyone], { kind: 'app', labels: {} }],
    ['the star selector on a node without labels', [anyone], node('root', {})],
  ])('%s', (_name, roles, want) => {
    expect(ask(roles, want)).toMatchObject({ allow: true })
  })
})

describe('what is refused, and why', () => {
  test.each<[string, Role[], Want, Partial<Question>, string]>([
    [
      'login of one role with the labels of another',
      [dev, prod],
      node('ann', { env: 'prod' }),
      {},
      'no role allows it',
    ],
    ['a login nobody granted', [dev], node('root'), {}, 'no role allows it'],
    ['a label the node lacks', [dev], node('ann', {}), {}, 'no role allows it'],
    [
      'an app, for a role with node labels only',
      [dev],
      { kind: 'app', labels: { env: 'dev' } },
      {},
      'no role allows it',
    ],
    ['a login denied by any role', [anyone, noRoot], node('root'), {}, 'denied by role'],
    [
      'labels denied by any role',
      [anyone, noSecret],
      node('ann', { secret: 'x' }),
      {},
      'denied by role',
    ],
    [
      'an app whose labels are denied',
      [anyone, noSecret],
      { kind: 'app', labels: { secret: '1' } },
      {},
      'denied by role',
    ],
    ['a trait that is no unix login', [anyone], node('-oProxyCommand=x'), {}, 'no role allows it'],
    [
      'a role that the certificate names and the user lost',
      [dev],
      node('ann'),
      { currentRoles: [] },
      'no role in force',
    ],
    [
      'a role gained after the certificate',
      [],
      node('ann'),
      { currentRoles: ['dev'] },
      'no role in force',
    ],
    ['a role that was deleted', [dev], node('ann'), { roles: new Map() }, 'no role in force'],
    [
      'an expired certificate',
      [dev],
      node('ann'),
      { certificateExpires: NOW },
      'certificate expired',
    ],
    [
      'a locked user',
      [dev],
      node('ann'),
      { locks: [lock({ kind: 'user', user: 'ann' })] },
      'user locked',
    ],
    [
      'a locked role',
      [dev],
      node('ann'),
      { locks: [lock({ kind: 'role', role: 'dev' })] },
      'user locked',
    ],
    [
      'a locked agent',
      [dev],
      node('ann'),
      { locks: [lock({ kind: 'agent', agent: AGENT })] },
      'agent locked',
    ],
    [
      'a locked service of the agent',
      [dev],
      node('ann'),
      { locks: [lock({ kind: 'service', agent: AGENT, service: 'ssh' })] },
      'agent locked',
    ],
    [
      'a locked token that let the agent in',
      [dev],
      node('ann'),
      { locks: [lock({ kind: 'token', token: 'leaked', agents: [AGENT] })] },
      'agent locked',
    ],
    ['a strict role on an old view', [strict], node('ann'), { viewAge: 300_001 }, 'view too old'],
  ])('%s', (_name, roles, want, change, reason) => {
    expect(ask(roles, want, change)).toMatchObject({ allow: false, reason })
  })

  test('a lock of somebody else, an expired lock and a lock on an unused role change nothing', () => {
    const locks = [
      lock({ kind: 'user', user: 'bob' }),
      lock({ kind: 'user', user: 'ann' }, NOW),
      lock({ kind: 'role', role: 'prod' }),
      lock({ kind: 'service', agent: AGENT, service: 'app' }),
      lock({ kind: 'token', token: 'leaked', agents: [] }),
    ]
    expect(ask([dev], node('ann'), { locks })).toMatchObject({ allow: true })
  })
  test('a best-effort role keeps working on an old view', () => {
    expect(ask([dev], node('ann'), { viewAge: 3_600_000 })).toMatchObject({ allow: true })
  })
})

test('options come from the roles that granted: permissions if one gives, restrictions if one sets', () => {
  expect(ask([anyone, limited], node('ann'))).toMatchObject({
    allow: true,
    grant: {
      forwardAgent: true,
      localForwarding: false,
      remoteForwarding: false,
      fileCopy: false,
      maxSessions: 2,
      idleTimeout: 300_000,
    },
  })
  expect(ask([dev, anyone], node('root'))).toMatchObject({
    roles: ['anyone'],
    grant: { localForwarding: true },
  })
})

test('every answer explains itself', () => {
  expect(ask([dev], node('ann')).why).toContain('dev')
  expect(ask([anyone, noRoot], node('root')).why).toContain('no-root')
})
