/**
 * `npm run bench:decide`: decisions per second of processor time, for a user with a hundred roles of ten rules each, of which the last
 * allows it; against a user with one role, interleaved. Agents decide for every stream.
 */
import { decide, type Question } from '../core/access/decide.ts'
import { instant, plus } from '../core/clock.ts'
import type { Role } from '../core/domain/role.ts'
import type { AgentId } from '../core/ids.ts'
import { compare, save } from './support/rounds.ts'

const COUNT = Number(process.env['BENCH_DECIDE'] ?? 100_000)
const now = instant(Date.UTC(2026, 10, 23))

/** Ten rules: labels that must all fit, a pattern among them. */
const selector = (env: string): Record<string, string[]> => ({
  env: [env],
  team: ['sre', 'web', 'db-*'],
  ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`label-${i}`, ['a', 'b*', 'c']])),
})
const labels = {
  env: 'prod',
  team: 'db-orders',
  ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`label-${i}`, 'bee'])),
}
const role = (name: string, env: string): Role => ({
  name,
  allow: {
    logins: ['{{internal.logins}}', 'deploy'],
    nodeLabels: selector(env),
    appLabels: undefined,
    rules: [],
  },
  deny: { logins: ['nobody'], nodeLabels: selector('sealed'), appLabels: undefined, rules: [] },
  options: {
    maxSessionTtl: undefined,
    forwardAgent: true,
    localForwarding: true,
    remoteForwarding: true,
    fileCopy: true,
    idleTimeout: undefined,
    maxSessions: undefined,
    lock: 'best_effort',
  },
})

function question(count: number): Question {
  const all = Array.from({ length: count }, (_, i) =>
    role(`role-${i}`, i === count - 1 ? 'prod' : `env-${i}`),
  )
  const names = all.map(({ name }) => name)
  return {
    user: 'ann',
    traits: { logins: ['ann', 'root'] },
    certificateRoles: names,
    certificateExpires: plus(now, 3_600_000),
    currentRoles: names,
    roles: new Map(all.map((one) => [one.name, one])),
    locks: [],
    agentId: 'ag_01jd00000000000000000000aa' as AgentId,
    want: { kind: 'node', labels, login: 'ann' },
    now,
    viewAge: 0,
    strictAge: 300_000,
  }
}

const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000_000
}
/** By processor time, which neighbours on the machine do not change. */
const rate =
  (asked: Question, next = (one: Question): Question => one) =>
  async (): Promise<number> => {
    const start = cpu()
    for (let i = 0; i < COUNT; i++) if (!decide(next(asked)).allow) throw new Error('refused')
    return COUNT / (cpu() - start)
  }

save('decide', [
  await compare('decisions', 'per CPU second', '≥ 200,000/s with 100 roles', [
    { name: '100 roles of 10 rules', run: rate(question(100)) },
    { name: 'one role', run: rate(question(1)) },
    {
      name: '100 roles, a new certificate each time',
      run: rate(question(100), (one) => ({
        ...one,
        certificateRoles: [...one.certificateRoles],
      })),
    },
  ]),
])
