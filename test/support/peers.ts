/**
 * The real programs that tests talk to. One that is not installed skips its tests with a line that says so; with CI set it is
 * a failure, because a suite that skips what it promises proves nothing. `npm run test:setup` installs them.
 */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export type PeerName =
  | 'ssh'
  | 'sshd'
  | 'scp'
  | 'sftp'
  | 'ssh-keygen'
  | 'ssh-agent'
  | 'rsync'
  | 'nginx'
  | 'haproxy'
  | 'pgbench'
  | 'psql'
  | 'openssl'
  | 'curl'
  | 'script'
  | 'expect'
  | 'tmux'
  | 'swtpm'
  | 'swtpm_setup'
  | 'swtpm_localca'
  | 'promtool'
  | 'systemd-analyze'

/**
 * What a machine may lack although `npm run test:setup` did its best: told aloud, with what is missing and where it comes from, and no
 * failure. `needs`: a program or a file, and its source.
 */
export function able(
  what: string,
  needs: readonly (readonly [item: string, source: string])[],
): boolean {
  const there = (item: string) =>
    item.includes('/') ? existsSync(item) : PLACES.some((dir) => existsSync(join(dir, item)))
  const absent = needs.filter(([item]) => !there(item))
  for (const [item, source] of absent)
    process.stderr.write(`SKIPPED: ${what}: ${item} is not there (${source})\n`)
  return absent.length === 0
}

/** Daemons live outside the PATH of ordinary users. */
const PLACES = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']

/** Absolute path of a program, or undefined. */
export function findPeer(name: PeerName): string | undefined {
  return PLACES.map((dir) => join(dir, name)).find((file) => existsSync(file))
}

/** Absolute path of a program; throws when it is not there. */
export function peer(name: PeerName): string {
  const found = findPeer(name)
  if (found === undefined) throw new Error(`${name} is not installed; npm run test:setup`)
  return found
}

/** For `describe.skipIf(missing('ssh'))`: true, with one loud line, when a program is not there. */
export function missing(...names: readonly PeerName[]): boolean {
  const absent = names.filter((name) => findPeer(name) === undefined)
  if (absent.length === 0) return false
  const line = `SKIPPED: ${absent.join(', ')} not installed (npm run test:setup)`
  if (process.env['CI'] !== undefined) throw new Error(line)
  process.stderr.write(`${line}\n`)
  return true
}
