// The one-line install as a person types it, `curl … | sh`, against a running cluster: and the agent that it installed joins.
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemdUnit } from '../../../cli/systemd-unit.ts'
import { missing } from '../../support/peers.ts'
import { CHECKOUT, lineOf, shell, temporaryHome, up, type Home, type RunningUp } from './postern.ts'

/** Made by `npm run artefacts`, which needs npm's registry; without it there is nothing to install. */
function noArchives(): boolean {
  if (existsSync(join(CHECKOUT, 'artefacts/manifest.json'))) return false
  const line = 'SKIPPED: no artefacts (npm run artefacts)'
  if (process.env['CI'] !== undefined) throw new Error(line)
  process.stderr.write(`${line}\n`)
  return true
}

describe.skipIf(missing('curl') || noArchives())('install.sh', () => {
  let home: Home
  let cluster: RunningUp
  let agent: ChildProcess | undefined
  const data = () => join(home.dir, 'data')
  const prefix = () => join(home.dir, 'root')
  const run = (line: string) => shell(line, { cwd: home.dir, env: home.env })
  const install = (args: string, filter = '') =>
    run(
      `curl -fsS --cacert data/ca.pem ${cluster.origin}/install.sh ${filter} | sh -s -- --ca-file ${data()}/ca.pem --prefix ${prefix()} ${args}`,
    )
  let pin = ''

  beforeAll(async () => {
    home = await temporaryHome()
    cluster = await up(home, ['--data-dir', data(), '--listen', '127.0.0.1:0', '--no-agent'])
    const made = await run(
      `curl -fsS --cacert data/ca.pem -H @data/operator.header -d '{"roles":["Node"]}' ${cluster.origin}/v1/tokens`,
    )
    const token = JSON.parse(made.stdout) as { secret: string; ca_pins: string[] }
    writeFileSync(join(home.dir, 'postern.token'), `${token.secret}\n`, { mode: 0o600 })
    pin = token.ca_pins[0] ?? ''
  })
  afterAll(async () => {
    agent?.kill('SIGKILL')
    await cluster.stop()
    await home.remove()
  })

  test('says what is missing before it downloads anything', async () => {
    expect((await install('')).stderr).toContain('give --token-file FILE or --iam NAME')
    expect((await install('--token-file gone')).stderr).toContain('gone cannot be read')
    expect((await install('--bogus')).stderr).toContain('unknown option --bogus')
    expect(existsSync(join(prefix(), 'opt'))).toBe(false)
  })

  // What it stops: another program under our name, by whoever can write to the bucket or sits in between.
  test('another archive than the one it is for is not installed', async () => {
    const wrong = await install(
      '--token-file postern.token',
      "| sed -E 's/sum=[0-9a-f]{4}/sum=0000/'",
    )
    expect(wrong.stderr).toContain('nothing was installed')
    expect(wrong.code).toBe(1)
    expect(existsSync(join(prefix(), 'opt/postern/current'))).toBe(false)
  })

  test('installs the archive, its configuration and the token, each for root alone', async () => {
    const done = await install(`--token-file postern.token --ca-pin ${pin} --nodename packed-1`)
    expect(done).toMatchObject({ code: 0 })
    const config = join(prefix(), 'etc/postern.yaml')
    expect(statSync(config).mode & 0o777).toBe(0o600)
    expect(statSync(join(prefix(), 'etc/postern/token')).mode & 0o777).toBe(0o600)
    expect(readFileSync(config, 'utf8')).toContain(`proxy_server: ${new URL(cluster.origin).host}`)
    expect(readlinkSync(join(prefix(), 'opt/postern/current'))).toMatch(/^0\.1\.0-[0-9a-f]{12}$/)
    expect(readlinkSync(join(prefix(), 'usr/local/bin/postern'))).toBe(
      '/opt/postern/current/bin/postern',
    )
  })

  test('run again it downloads nothing and keeps the configuration', async () => {
    const before = readFileSync(join(prefix(), 'etc/postern.yaml'), 'utf8')
    const again = await install('--token-file postern.token --nodename other')
    expect(again.code).toBe(0)
    expect(again.stderr).not.toContain('downloading')
    expect(readFileSync(join(prefix(), 'etc/postern.yaml'), 'utf8')).toBe(before)
  })

  test('the agent from the archive joins, with the runtime that came with it', async () => {
    // As in an image that was booted: the paths of the configuration are below the prefix here.
    const config = join(prefix(), 'etc/postern.yaml')
    const text = readFileSync(config, 'utf8')
      .replace('/etc/postern/token', join(prefix(), 'etc/postern/token'))
      .replace('proxy_server:', `data_dir: ${join(prefix(), 'lib')}\n  proxy_server:`)
    writeFileSync(config, text, { mode: 0o600 })
    agent = spawn(
      join(prefix(), 'opt/postern/current/bin/postern'),
      ['agent', 'start', '-c', config],
      // Nothing of this checkout, no Node of this machine.
      { env: { PATH: '/usr/bin:/bin' }, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    if (!agent.stderr) throw new Error('no stderr')
    await lineOf(createInterface(agent.stderr), /tunnel\.connected/)
    const nodes = await run(
      `curl -fsS --cacert data/ca.pem -H @data/operator.header ${cluster.origin}/v1/nodes`,
    )
    expect(nodes.stdout).toContain('packed-1')
  })

  test('the unit that it would install starts the launcher, and systemd takes it', async () => {
    const shown = await run(
      `${prefix()}/opt/postern/current/bin/postern agent install -c ${prefix()}/etc/postern.yaml --print`,
    )
    expect(shown.code).toBe(0)
    expect(shown.stdout).toContain('RestartPreventExitStatus=2 3')
    const alone = systemdUnit({
      command: ['/bin/true'],
      config: '/etc/postern.yaml',
      dataDir: '/var/lib/postern',
      sessions: false,
    })
    expect(alone).toContain('ProtectSystem=strict')
    expect(shown.stdout).not.toContain('NoNewPrivileges')
    for (const [name, unit] of [
      ['node', shown.stdout],
      ['alone', alone],
    ] as const) {
      const file = join(home.dir, `${name}.service`)
      writeFileSync(file, unit)
      if (missing('systemd-analyze')) continue
      const checked = await run(`systemd-analyze verify ${file}`)
      expect(checked.stderr).not.toMatch(/Unknown key|Failed to parse|Invalid/)
    }
  })
})
