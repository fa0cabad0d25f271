/** A TPM 2.0 emulated by swtpm, as a manufacturer leaves it: endorsement keys, and a certificate by a CA of this test. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { peer } from './peers.ts'

export interface Swtpm {
  /** Unix socket that takes commands. */
  readonly device: string
  /** PEM of the CA that signed the certificate of the RSA endorsement key. */
  readonly ca: string
  close(): Promise<void>
}

function manufacture(dir: string): void {
  const ca = join(dir, 'ca')
  mkdirSync(ca)
  mkdirSync(join(dir, 'state'))
  writeFileSync(
    join(dir, 'localca.conf'),
    `statedir = ${ca}\nsigningkey = ${ca}/key.pem\nissuercert = ${ca}/ca.pem\ncertserial = ${ca}/serial\n`,
  )
  writeFileSync(join(dir, 'localca.options'), '--platform-manufacturer Test\n')
  writeFileSync(
    join(dir, 'setup.conf'),
    [
      `create_certs_tool = ${peer('swtpm_localca')}`,
      `create_certs_tool_config = ${dir}/localca.conf`,
      `create_certs_tool_options = ${dir}/localca.options`,
    ].join('\n'),
  )
  const user = execFileSync('id', ['-un'], { encoding: 'utf8' }).trim()
  const args = ['--tpm2', '--tpmstate', join(dir, 'state'), '--create-ek-cert', '--lock-nvram']
  execFileSync(
    peer('swtpm_setup'),
    [...args, '--config', join(dir, 'setup.conf'), '--runas', user],
    { stdio: 'pipe' },
  )
}

/** swtpm writes no line when it listens; its socket appears. */
async function listening(child: ChildProcess, path: string): Promise<void> {
  while (!existsSync(path)) {
    if (child.exitCode !== null) throw new Error(`swtpm ended with ${child.exitCode}`)
    await pause(5)
  }
}

export async function startSwtpm(): Promise<Swtpm> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-swtpm-'))
  manufacture(dir)
  const device = join(dir, 'tpm.sock')
  const child = spawn(
    peer('swtpm'),
    [
      'socket',
      '--tpm2',
      ...['--tpmstate', `dir=${join(dir, 'state')}`],
      ...['--server', `type=unixio,path=${device}`],
      ...['--ctrl', `type=unixio,path=${join(dir, 'control.sock')}`],
      ...['--flags', 'not-need-init,startup-clear'],
    ],
    { stdio: 'ignore' },
  )
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await listening(child, device)
  return {
    device,
    ca: readFileSync(join(dir, 'ca/ca.pem'), 'utf8'),
    async close() {
      child.kill('SIGTERM')
      await ended
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
