/** Starts and stops the processes a benchmark needs: `postern up`, and OpenSSH daemons as the baseline. Loopback only. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import { join } from 'node:path'

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await gone
}

async function until(
  ready: () => boolean | Promise<boolean>,
  child: ChildProcess,
  what: string,
): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (child.exitCode !== null) throw new Error(`${what} ended with ${child.exitCode}`)
    if (await ready()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${what} did not start`)
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => (socket.destroy(), resolve(true)))
    socket.once('error', () => resolve(false))
  })

export interface Up {
  readonly child: ChildProcess
  readonly node: string
  readonly sshConfig: string
  readonly dataDir: string
  readonly port: number
}

/** The whole system as the README starts it, in a directory of its own. */
export async function startUp(dir: string): Promise<Up> {
  const port = await freePort()
  const dataDir = join(dir, 'postern-data')
  const child = spawn(
    process.execPath,
    ['bin/postern.mjs', 'up', '--data-dir', dataDir, '--listen', `127.0.0.1:${port}`],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let screen = ''
  child.stdout.on('data', (b: Buffer) => (screen += b.toString()))
  await until(() => /ssh -F/.test(screen), child, 'postern up')
  const node = /ssh -F \S+ (\S+)/.exec(screen)?.[1] ?? os.hostname()
  return { child, node, sshConfig: join(dataDir, 'ssh_config'), dataDir, port }
}

/** The second agent that `up` prepares, as a process of its own. */
export async function startAgent(up: Up): Promise<{ child: ChildProcess; node: string }> {
  const file = join(up.dataDir, 'agent2.yaml')
  const node = /nodename: (\S+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? `${up.node}-2`
  const child = spawn(process.execPath, ['bin/postern.mjs', 'agent', 'start', '-c', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.on('data', (b: Buffer) => (log += b.toString()))
  await until(() => log.includes('tunnel.connected'), child, 'the agent')
  return { child, node }
}

export interface Sshd {
  readonly child: ChildProcess
  readonly port: number
}

/** A stock sshd with one host key and one authorised key, for `ssh` and `ssh -J`. */
export async function startSshd(dir: string, name: string, authorized: string): Promise<Sshd> {
  const port = await freePort()
  const home = join(dir, name)
  mkdirSync(home, { recursive: true, mode: 0o700 })
  spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'host')])
  writeFileSync(join(home, 'authorized_keys'), readFileSync(authorized), { mode: 0o600 })
  writeFileSync(
    join(home, 'sshd_config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${join(home, 'host')}`,
      `AuthorizedKeysFile ${join(home, 'authorized_keys')}`,
      'StrictModes no',
      'PermitRootLogin yes',
      'UsePAM no',
      `PidFile ${join(home, 'pid')}`,
    ].join('\n'),
  )
  mkdirSync('/run/sshd', { recursive: true })
  const child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(home, 'sshd_config')], {
    stdio: 'ignore',
  })
  await until(() => answers(port), child, 'sshd')
  return { child, port }
}

/** Runs a command to its end; answers how long it took, in seconds. Throws when it fails. */
export async function timed(command: string, args: readonly string[]): Promise<number> {
  const started = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const code = await new Promise((resolve) => child.once('exit', resolve))
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${String(code)}`)
  return (performance.now() - started) / 1000
}

/** Resident memory of a process, MiB. */
export function rss(pid: number): number {
  const kb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kb ?? 0) / 1024
}
