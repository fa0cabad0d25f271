/** The small rules of a session: accounts, environment, file copy, addresses, what sftp touches. */
import { describe, expect, test } from 'vitest'
import { refusedAddress } from '../../../agent/services/ssh/addresses.ts'
import { fileCopyOf } from '../../../agent/services/ssh/file-copy.ts'
import { accountRefusal } from '../../../agent/services/ssh/server/account.ts'
import { acceptsVariable } from '../../../agent/services/ssh/server/environment.ts'
import {
  createSftpWatch,
  type FileOperation,
} from '../../../agent/services/ssh/server/sftp-watch.ts'
import { string, uint32 } from '../../../agent/services/ssh/ssh2/wire.ts'

const account = { name: 'ann', uid: 1000, gid: 1000, home: '/home/ann', shell: '/bin/bash' }
const host = { agentUid: 0, nologin: false }

describe('an account', () => {
  test.each([
    ['an ordinary one', account, host, undefined],
    ['none', undefined, host, /no user ann/],
    ['root by another name', { ...account, uid: 0 }, host, /root by another name/],
    ['one without a shell', { ...account, shell: '/usr/sbin/nologin' }, host, /may not log in/],
    ['one with false as its shell', { ...account, shell: '/bin/false' }, host, /may not log in/],
    [
      'any but its own, by an agent that is not root',
      account,
      { ...host, agentUid: 1001 },
      /own user/,
    ],
    ['its own, by an agent that is not root', account, { ...host, agentUid: 1000 }, undefined],
    ['anybody, while the machine goes down', account, { ...host, nologin: true }, /no logins/],
    [
      'root, while the machine goes down',
      { ...account, name: 'root', uid: 0 },
      { ...host, nologin: true },
      undefined,
    ],
  ])('%s', (_name, given, on, refusal) => {
    const line = accountRefusal('ann', given, on)
    if (refusal === undefined) expect(line).toBeUndefined()
    else expect(line).toMatch(refusal)
  })
})

describe('a variable from the client', () => {
  test.each([
    ['LANG', true],
    ['LC_ALL', true],
    ['COLORTERM', true],
    ['MINE', true],
    ['OTHER', false],
    ['LD_PRELOAD', false],
    ['BASH_ENV', false],
    ['ENV', false],
    ['PATH', false],
    ['A B', false],
    ['', false],
  ])('%s: %s', (name, accepted) => {
    const allowed = ['MINE', 'LD_PRELOAD', 'BASH_ENV', 'PATH', 'ENV', 'A B', '']
    expect(acceptsVariable(name, 'x', allowed)).toBe(accepted)
  })
  test('a value with a null byte, or too long, is not taken', () => {
    expect(acceptsVariable('LANG', 'a\0b', [])).toBe(false)
    expect(acceptsVariable('LANG', 'a'.repeat(40_000), [])).toBe(false)
  })
})

test.each([
  ['scp -t /tmp', 'scp'],
  ['scp -r -p -f /etc', 'scp'],
  ['/usr/bin/scp -pt x', 'scp'],
  ['cd /tmp && scp -t .', 'scp'],
  ['rsync --server --sender -vlogDtpr . /etc', 'rsync'],
  ['/usr/lib/openssh/sftp-server', 'sftp'],
  ['scp', undefined],
  ['echo scpx -t', undefined],
  ['rsync -a a b', undefined],
])('the command "%s" copies files by %s', (command, way) => {
  expect(fileCopyOf(command)).toBe(way)
})

test.each([
  ['169.254.169.254', true],
  ['169.254.0.1', true],
  ['100.100.100.200', true],
  ['fe80::1', true],
  ['FE80::1%eth0', true],
  ['febf::1', true],
  ['fd00:ec2::254', true],
  ['fd00:0ec2:0:0:0:0:0:254', true],
  ['::ffff:169.254.169.254', true],
  ['::ffff:a9fe:a9fe', true],
  ['0:0:0:0:0:ffff:a9fe:a9fe', true],
  ['::169.254.169.254', true],
  ['64:ff9b::a9fe:a9fe', true],
  ['2852039166', true],
  ['0xa9fea9fe', true],
  ['127.0.0.1', false],
  ['::1', false],
  ['10.0.0.1', false],
  ['fd00:ec2::253', false],
  ['::ffff:10.0.0.1', false],
])('a forward to %s is refused: %s', (address, refused) => {
  expect(refusedAddress(address)).toBe(refused)
})

test('sftp operations are seen however their packets are cut', () => {
  const packet = (type: number, ...body: Buffer[]): Buffer => {
    const rest = Buffer.concat([Buffer.from([type]), uint32(7), ...body])
    return Buffer.concat([uint32(rest.length), rest])
  }
  const session = Buffer.concat([
    Buffer.concat([uint32(5), Buffer.from([1]), uint32(3)]),
    packet(3, string('/a'), uint32(0x1a), uint32(0)),
    packet(6, string('h'), Buffer.alloc(8), string(Buffer.alloc(70_000, 3))),
    packet(3, string('/b'), uint32(1), uint32(0)),
    packet(18, string('/a'), string('/c')),
    packet(200, string('posix-rename@openssh.com'), string('/c'), string('/d')),
    packet(13, string('/d')),
  ])
  const expected = [
    { operation: 'write', path: '/a' },
    { operation: 'read', path: '/b' },
    { operation: 'rename', path: '/a', to: '/c' },
    { operation: 'rename', path: '/c', to: '/d' },
    { operation: 'remove', path: '/d' },
  ]
  for (const step of [1, 2, 7, 100, 4096, session.length]) {
    const seen: FileOperation[] = []
    const watch = createSftpWatch((operation) => seen.push(operation))
    for (let at = 0; at < session.length; at += step) watch(session.subarray(at, at + step))
    expect(seen, `chunks of ${step}`).toEqual(expected)
  }
})
