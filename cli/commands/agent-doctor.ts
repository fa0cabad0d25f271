/**
 * `postern doctor -c FILE`: an agent's machine, from its file to the proxies. It reads what the agent keeps and changes nothing,
 * and it never opens a tunnel as the agent: a second one would draw streams.
 */
import { createServer } from 'node:net'
import { readFileSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import path from 'node:path'
import { enabledServices, parseAgentConfig, type AgentConfig } from '../../agent/config.ts'
import { readPrivate } from '../../agent/identity/files.ts'
import { holdIdentity, type HeldIdentity, type StoredIdentity } from '../../agent/identity/store.ts'
import { readToken } from '../../agent/token-file.ts'
import type { ServiceKind } from '../../core/domain/service.ts'
import { reasonOf } from '../../core/errors.ts'
import type { Cli } from '../cli.ts'
import { Problem, warning, type Examination } from '../doctor/examination.ts'
import { inTime } from '../ui/time.ts'
import { examineNetwork } from './agent-doctor-network.ts'

const IDENTITY_MAX = 1024 * 1024

async function readConfig(file: string): Promise<AgentConfig> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new Problem(
      `cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'error'})`,
      `make it with postern agent configure > ${file}, or run as the user that may read it`,
      { code: 'ERR_CONFIG_INVALID' },
    )
  })
  try {
    return parseAgentConfig(text, { hostname: hostname() })
  } catch (cause) {
    throw new Problem(
      reasonOf(cause),
      'correct the key that is named; docs/agent-config.md has all of them',
      {
        cause,
      },
    )
  }
}

/** What the agent itself insists on (identity/files.ts), without touching anything. */
async function dataDir(dir: string): Promise<string> {
  const found = await stat(dir).catch(() => undefined)
  if (!found) return 'not there yet; the first start makes it'
  const uid = process.getuid?.()
  const mode = (found.mode & 0o777).toString(8).padStart(4, '0')
  if (!found.isDirectory())
    throw new Problem('is not a directory', `set data_dir to a directory of the agent alone`, {
      code: 'ERR_DATA_DIR_UNSAFE',
    })
  if (uid !== undefined && uid !== 0 && found.uid !== uid)
    throw new Problem(
      `belongs to uid ${found.uid}; this is ${userInfo().username}`,
      'run this as the user that the agent runs as',
      { code: 'ERR_DATA_DIR_UNSAFE' },
    )
  if ((found.mode & 0o077) !== 0)
    throw new Problem(`has mode ${mode}: others can get in`, `chmod 700 ${dir}`, {
      code: 'ERR_DATA_DIR_UNSAFE',
    })
  return `mode ${mode}`
}

/** Undefined: this service has not joined. */
async function identityOf(dir: string, kind: ServiceKind): Promise<HeldIdentity | undefined> {
  const file = path.join(dir, kind, 'identity.json')
  const text = await readPrivate(file, IDENTITY_MAX).catch((cause: unknown) => {
    throw new Problem(reasonOf(cause), `chmod 600 ${file}`, { cause })
  })
  if (text === undefined) return undefined
  const mode = (await stat(file)).mode & 0o077
  if (mode !== 0)
    throw new Problem(`${file} can be read by others`, `chmod 600 ${file}`, {
      code: 'ERR_DATA_DIR_UNSAFE',
    })
  try {
    return holdIdentity(kind, JSON.parse(text) as StoredIdentity)
  } catch (cause) {
    throw new Problem(
      'is broken',
      `remove ${path.join(dir, kind)} and start the agent with a token: it joins again`,
      { cause, code: 'ERR_CERT_INVALID' },
    )
  }
}

function life(cli: Cli, held: HeldIdentity): string {
  const now = cli.clock.now()
  const { notBefore } = held.certificate
  const ends = held.expires
  if (now >= ends)
    throw new Problem(
      `expired ${new Date(ends).toISOString()}`,
      'start the agent with a token in auth_token: it joins again; check the clock first',
      { code: 'ERR_CERT_INVALID' },
    )
  const generation = held.stored.credentials.generation
  const text = `${held.agentId}, generation ${generation}, ends ${inTime(ends, now)}`
  // Renewed at half life; at three quarters somebody is in the way.
  if (now > notBefore + (ends - notBefore) * 0.75)
    throw warning(
      `${text}, and was not renewed`,
      'is the agent running? Its log says why renewals fail',
    )
  return text
}

async function token(config: AgentConfig, joined: boolean): Promise<string> {
  const { join } = config
  if (joined) return 'not needed: every service has its identity'
  if (join.method !== 'token') return `method ${join.method}, token ${join.tokenName}`
  try {
    await readToken(join.token)
    return join.token?.kind === 'file' ? `${join.token.path} holds a join token` : 'in the file'
  } catch (cause) {
    const file = join.token?.kind === 'file' ? join.token.path : undefined
    const open = file !== undefined && /open to every user/.test(reasonOf(cause))
    throw new Problem(
      reasonOf(cause),
      open
        ? `chmod 600 ${file}`
        : `postern tokens add prints a token; put it into ${file ?? 'a file and name that in auth_token'}`,
      { cause },
    )
  }
}

async function running(config: AgentConfig): Promise<string> {
  const text = await readFile(path.join(config.dataDir, 'agent.lock'), 'utf8').catch(() => '')
  const pid = Number(/"pid":\s*(\d+)/.exec(text)?.[1])
  try {
    if (pid > 0) process.kill(pid, 0)
    else throw new Error('no pid')
    return `runs, pid ${pid}`
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'EPERM') return `runs, pid ${pid}`
    throw warning('no agent runs here', 'postern agent start -c FILE, or systemctl start postern')
  }
}

/** Is the port of diag_addr ours or free? */
function diagnostics(config: AgentConfig): Promise<string> {
  const { diag } = config
  if (!diag) return Promise.resolve('diag_addr is not set; the agent listens nowhere')
  const at = `${diag.host}:${diag.port}`
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (e: NodeJS.ErrnoException) => {
      if (e.code !== 'EADDRINUSE')
        return reject(
          new Problem(
            `${at}: ${e.code ?? e.message}`,
            'set diag_addr to an address of this machine',
            { code: 'ERR_ADDRESS_UNUSABLE' },
          ),
        )
      fetch(`http://${at}/healthz`, { signal: AbortSignal.timeout(2000) })
        .then((r) => r.json())
        .then(
          () => resolve(`${at} answers`),
          () =>
            reject(
              new Problem(`another program listens on ${at}`, 'set diag_addr to a free port', {
                code: 'ERR_ADDRESS_UNUSABLE',
              }),
            ),
        )
    })
    server.listen(diag.port, diag.host, () => server.close(() => resolve(`${at} is free`)))
  })
}

/** Local port 22 in state LISTEN (0A) on any address, in /proc/net/tcp and tcp6. */
function sshd(): string {
  const open = ['/proc/net/tcp', '/proc/net/tcp6'].some((file) => {
    try {
      return /^\s*\d+: (0+|0{24}0{8}):0016 \S+ 0A /m.test(readFileSync(file, 'utf8'))
    } catch {
      return false
    }
  })
  return open
    ? 'sshd listens on port 22 for everybody; the agent needs no port, so sshd and it never collide, and you may close it'
    : 'the agent needs no port'
}

export async function examineAgent(cli: Cli, exam: Examination, file: string): Promise<void> {
  let parsed: AgentConfig | undefined
  await exam.check('config', file, async () => {
    parsed = await readConfig(file)
    return `node ${parsed.nodeName}, services ${enabledServices(parsed).join(', ')}`
  })
  const config = parsed
  if (!config) return
  const safe = await exam.check('data_dir', config.dataDir, () => dataDir(config.dataDir))
  const held: HeldIdentity[] = []
  for (const kind of enabledServices(config))
    await exam.check(
      'identity',
      kind,
      async () => {
        const found = await identityOf(config.dataDir, kind)
        if (!found) return 'has not joined yet'
        held.push(found)
        return life(cli, found)
      },
      [safe],
    )
  const joined = held.length === enabledServices(config).length
  await exam.check('token', '', () => token(config, joined))
  await exam.check('process', '', () => running(config))
  await exam.check('ports', '', sshd)
  await exam.check('diag_addr', '', () => diagnostics(config))
  await exam.check('user', '', () => {
    if (!config.ssh || process.getuid?.() === 0) return `runs as ${userInfo().username}`
    throw warning(
      `ssh_service serves ${userInfo().username} alone`,
      'run the agent as root to serve every unix user that roles allow',
    )
  })
  await examineNetwork(cli, exam, config, held)
}
