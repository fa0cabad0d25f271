/** The ssh_config that is written for stock OpenSSH: whatever stands in a path, ssh and its shell read one word in it. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { sshConfigFile } from '../../../cli/ssh-config.ts'
import { missing, peer } from '../../support/peers.ts'

const config = (profileDir: string, script = '/opt/postern.mjs'): string =>
  sshConfigFile({ cluster: 'home', profileDir, self: { node: '/usr/bin/node', script } })

test('CVE-2026-55427 (Coder): a path cannot begin a line of its own in the configuration', () => {
  for (const dir of ['/p\nProxyCommand touch /tmp/x', '/p\r', '/p" "-oProxyCommand=x'])
    expect(() => config(dir)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }) as Error)
})

describe.skipIf(missing('ssh'))('as ssh itself reads it', () => {
  const read = (text: string): Map<string, string> => {
    const dir = mkdtempSync(join(tmpdir(), 'postern-config-'))
    onTestFinished(() => rmSync(dir, { recursive: true }))
    const file = join(dir, 'config')
    writeFileSync(file, text)
    const out = execFileSync(peer('ssh'), ['-G', '-F', file, 'web-1'], { encoding: 'utf8' })
    return new Map(out.split('\n').map((line) => line.split(/ (.*)/s) as [string, string]))
  }
  test('CVE-2023-51385 (OpenSSH): no word of a path runs in the shell of the ProxyCommand', () => {
    const odd = `/home/ann/it's $(touch pwned) \`id\` ; 50% #1`
    const command = read(config(odd, `${odd}/postern.mjs`)).get('proxycommand') ?? ''
    // What ssh gives to the shell: its own tokens are replaced, and %% is one %.
    const line = command.replaceAll('%h', 'web-1').replaceAll('%p', '22').replaceAll('%%', '%')
    const words = execFileSync('sh', ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' })
    expect(words.split('\0').slice(0, -1)).toEqual([
      ...['/usr/bin/node', `${odd}/postern.mjs`],
      ...['proxy', 'ssh', 'web-1:22', '--profile', odd],
    ])
  })
})
