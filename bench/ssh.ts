/**
 * `npm run bench:ssh`: what a user feels. `ssh node cat big` and `ssh node true` through everything (ProxyCommand, proxy, tunnel, agent) against
 * the same through OpenSSH's own jump host (`ssh -J`), interleaved.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { startAgent, startSshd, startUp, stop, timed } from './support/processes.ts'
import { compare, save } from './support/rounds.ts'

const MIB = Number(process.env['BENCH_MIB'] ?? 512)
const dir = mkdtempSync(join(os.tmpdir(), 'postern-bench-'))
const user = os.userInfo().username
const big = join(dir, 'big')
writeFileSync(big, Buffer.alloc(MIB << 20, 'postern '))
spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, 'key')])

const up = await startUp(dir)
// The node is served by an agent process of its own, as it is in real life.
const agent = await startAgent(up)
const jump = await startSshd(dir, 'jump', join(dir, 'key.pub'))
const target = await startSshd(dir, 'target', join(dir, 'key.pub'))
const config = join(dir, 'jump_config')
writeFileSync(
  config,
  `Host *\n  User ${user}\n  IdentityFile ${join(dir, 'key')}\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n` +
    `Host jump\n  HostName 127.0.0.1\n  Port ${jump.port}\nHost target\n  HostName 127.0.0.1\n  Port ${target.port}\n  ProxyJump jump\n`,
)
const ours = (command: string) => timed('ssh', ['-F', up.sshConfig, agent.node, command])
const theirs = (command: string) => timed('ssh', ['-F', config, 'target', command])
const rate = (run: (command: string) => Promise<number>) => async () =>
  MIB / (await run(`cat ${big}`))

try {
  const rows = [
    await compare('ssh bulk, node to user', 'MiB/s', '≥ 0.7', [
      { name: 'postern', run: rate(ours) },
      { name: 'ssh -J', run: rate(theirs) },
    ]),
    await compare(
      'ssh node true, login included',
      's',
      '≤ 1.0',
      [
        { name: 'postern', run: () => ours('true') },
        { name: 'ssh -J', run: () => theirs('true') },
      ],
      9,
    ),
  ]
  save('ssh', rows)
} finally {
  await Promise.all([agent.child, up.child, jump.child, target.child].map(stop))
  rmSync(dir, { recursive: true, force: true })
}
