/** The configuration file: what is accepted, and that every wrong field is named. */
import { describe, expect, test } from 'vitest'
import { enabledServices, parseAgentConfig } from '../../../agent/config.ts'
import { LIMITS } from '../../../core/limits.ts'
import { isAppError } from '../../../core/errors.ts'

const machine = { hostname: 'Web-1.example.com' }
const TOKEN = `pst_join_${'a'.repeat(43)}`
const PIN = `sha256:${'0'.repeat(64)}`

const base = {
  version: 'v1',
  postern: { proxy_server: 'access.example.com:443', auth_token: TOKEN } as object,
  ssh_service: { enabled: true } as object,
}
// JSON is YAML.
const read = (value: unknown) => parseAgentConfig(JSON.stringify(value), machine)
const withMain = (extra: object) => ({ ...base, postern: { ...base.postern, ...extra } })

function refusal(run: () => unknown): { code: string; message: string } {
  try {
    run()
  } catch (e) {
    if (isAppError(e)) return { code: e.code, message: e.message }
    throw e
  }
  throw new Error('nothing was refused')
}

describe('what is accepted', () => {
  test('the example of the documentation', () => {
    const config = parseAgentConfig(
      `version: v1
postern:
  nodename: web-1
  data_dir: /var/lib/postern
  proxy_server: access.example.com:443
  auth_token: /etc/postern/token
  ca_pin: ${PIN}
  log: { output: stderr, severity: INFO, format: text }
ssh_service: { enabled: true, labels: { env: prod }, commands: [{ name: kernel, command: [uname, -r], period: 10m }] }
app_service: { enabled: true, apps: [{ name: grafana, uri: http://localhost:3000, labels: { team: sre } }] }
db_service: { enabled: false, databases: [{ name: orders }] }
discovery_service: { enabled: false }
`,
      machine,
    )
    expect(config).toMatchObject({
      nodeName: 'web-1',
      proxyServer: 'https://access.example.com:443',
      join: { method: 'token', token: { kind: 'file', path: '/etc/postern/token' } },
      caPins: [PIN],
      ssh: { labels: { env: 'prod' }, commands: [{ name: 'kernel', period: 600_000 }] },
      app: { apps: [{ name: 'grafana', protocol: 'http', host: 'localhost', port: 3000 }] },
    })
    expect(enabledServices(config)).toEqual(['ssh', 'app'])
  })

  test('an existing agent file with `teleport:`, version v3 and yes or no', () => {
    const config = parseAgentConfig(
      `version: v3
teleport:
  proxy_server: access.example.com
  join_params: { method: token, token_name: ${TOKEN} }
  log: { severity: warn, format: { output: json } }
auth_service: { enabled: no }
proxy_service: { enabled: "no" }
ssh_service: { enabled: yes }
`,
      machine,
    )
    expect(config).toMatchObject({
      nodeName: 'web-1.example.com',
      proxyServer: 'https://access.example.com:443',
      join: { method: 'token', token: { kind: 'value' } },
      log: { severity: 'WARN', format: 'json' },
      dataDir: '/var/lib/postern',
      caPins: [],
    })
    expect(config.app).toBeUndefined()
  })

  test.each([
    ['https://access.example.com', 'https://access.example.com:443'],
    ['https://Access.Example.com:3080/', 'https://access.example.com:3080'],
    ['127.0.0.1:3080', 'https://127.0.0.1:3080'],
    ['[::1]:3080', 'https://[::1]:3080'],
  ])('proxy_server %s is %s', (given, expected) => {
    expect(read(withMain({ proxy_server: given })).proxyServer).toBe(expected)
  })

  test('join_params name a token without a secret, and where the id token is', () => {
    const join = (given: object) => read(params({ token_name: 'ci', ...given })).join
    expect(join({ method: 'github' })).toEqual({
      method: 'github',
      tokenName: 'ci',
      idToken: undefined,
    })
    expect(join({ method: 'gitlab', gitlab: { token_env_var_name: 'JWT' } })).toMatchObject({
      idToken: { kind: 'env', name: 'JWT' },
    })
    expect(join({ method: 'oidc', oidc: { token_file: '/run/id-token' } })).toMatchObject({
      idToken: { kind: 'file', path: '/run/id-token' },
    })
    // As files for another agent call it.
    const command = ['mint', '--audience', 'c']
    expect(join({ method: 'generic_oidc', generic_oidc: { command } })).toMatchObject({
      method: 'oidc',
      idToken: { kind: 'command', command },
    })
  })

  test('no token is needed in the file: identities may be there already', () => {
    const { version, ssh_service } = base
    const postern = { proxy_server: 'access.example.com' }
    expect(read({ version, postern, ssh_service }).join).toEqual({
      method: 'token',
      token: undefined,
    })
  })
})

const app = (extra: object) => ({
  ...base,
  app_service: { enabled: true, apps: [{ name: 'a', uri: 'tcp://h:1', ...extra }] },
})
const params = (join_params: object) => withMain({ auth_token: undefined, join_params })
const ssh = (extra: object) => ({ ...base, ssh_service: { enabled: true, ...extra } })

describe('what is wrong is named', () => {
  test.each<[string, unknown, RegExp]>([
    ['no version', { ...base, version: undefined }, /^version: use version: v1/],
    ['an unknown version', { ...base, version: 'v9' }, /^version: /],
    ['no section', { version: 'v1', ssh_service: { enabled: true } }, /^postern: .*needed/],
    ['both sections', { ...base, teleport: base.postern }, /^teleport: .*only one/],
    ['an unknown section', { ...base, web_service: {} }, /^web_service: unknown field/],
    ['an unknown key', withMain({ colour: 'red' }), /^postern\.colour: unknown field/],
    ['a key of long ago', withMain({ auth_servers: ['a'] }), /auth_servers: use proxy_server/],
    ['no proxy_server', { ...base, postern: {} }, /^postern\.proxy_server: /],
    ['a proxy_server with a path', withMain({ proxy_server: 'https://a/b' }), /proxy_server: use/],
    ['plain http', withMain({ proxy_server: 'http://a' }), /proxy_server: use host:port/],
    ['a port too high', withMain({ proxy_server: 'a:70000' }), /proxy_server: use host:port/],
    ['a node name with capitals', withMain({ nodename: 'Web' }), /postern\.nodename: use 1 to 63/],
    ['a relative data_dir', withMain({ data_dir: 'data' }), /data_dir: use an absolute path/],
    ['a token that is none', withMain({ auth_token: 'hunter2' }), /auth_token: it is neither/],
    ['a relative token path', withMain({ auth_token: './token' }), /auth_token: it is neither/],
    [
      'token and join_params',
      withMain({ join_params: { method: 'token', token_name: TOKEN } }),
      /join_params: .*never both/,
    ],
    [
      'an unknown join method',
      withMain({ auth_token: undefined, join_params: { method: 'magic', token_name: 'x' } }),
      /join_params\.method: use one of/,
    ],
    [
      'a token name that is a path',
      params({ method: 'github', token_name: '/etc/token' }),
      /join_params\.token_name: use the name of the token/,
    ],
    [
      'oidc without a place of the id token',
      params({ method: 'oidc', token_name: 'ci' }),
      /join_params\.oidc: say where the id token is/,
    ],
    [
      'oidc with two places of the id token',
      params({
        method: 'oidc',
        token_name: 'ci',
        oidc: { token_file: '/a', token_env_var_name: 'A' },
      }),
      /join_params\.oidc: give one of token_file, token_env_var_name, command/,
    ],
    [
      'a place of the id token for a method that knows its own',
      params({ method: 'github', token_name: 'ci', oidc: { token_file: '/a' } }),
      /join_params\.oidc: it belongs to another join method/,
    ],
    [
      'a secret with a place of an id token',
      params({ method: 'token', token_name: TOKEN, gitlab: { token_env_var_name: 'A' } }),
      /join_params\.gitlab: it belongs to another join method/,
    ],
    ['a short pin', withMain({ ca_pin: 'sha256:00' }), /ca_pin: use sha256/],
    ['a wrong pin in a list', withMain({ ca_pin: [PIN, 'md5:1'] }), /ca_pin/],
    ['a log severity', withMain({ log: { severity: 'LOUD' } }), /log\.severity: use DEBUG/],
    ['a log format', withMain({ log: { format: 'xml' } }), /log\.format: use text or json/],
    ['a log output', withMain({ log: { output: 'syslog' } }), /log\.output: use stderr/],
    ['no service', { ...base, ssh_service: { enabled: false } }, /enable at least one service/],
    ['enabled that is no flag', { ...base, ssh_service: { enabled: 3 } }, /enabled: say true/],
    ['no enabled', { ...base, ssh_service: {} }, /ssh_service\.enabled: say true or false/],
    ['labels that are a list', ssh({ labels: ['a'] }), /ssh_service\.labels/],
    [
      'a label with a control character',
      ssh({ labels: { a: 'x\u0007' } }),
      /labels\.a: no control/,
    ],
    ['a label key with spaces', ssh({ labels: { 'a b': 'x' } }), /ssh_service\.labels/],
    [
      'a command as text',
      ssh({ commands: [{ name: 'k', command: 'uname' }] }),
      /commands\.0\.command/,
    ],
    [
      'an empty command',
      ssh({ commands: [{ name: 'k', command: [] }] }),
      /command: name the program/,
    ],
    [
      'a period too short',
      ssh({ commands: [{ name: 'k', command: ['x'], period: '1s' }] }),
      /commands\.0\.period: use a duration of at least 5s/,
    ],
    [
      'a label named twice',
      ssh({
        commands: [
          { name: 'k', command: ['x'] },
          { name: 'k', command: ['y'] },
        ],
      }),
      /commands: a label is named twice/,
    ],
    ['pam', ssh({ pam: {} }), /ssh_service\.pam: .*not supported/],
    ['an app name', app({ name: 'My App' }), /apps\.0\.name: use 1 to 63/],
    ['an app without uri', app({ uri: undefined }), /apps\.0\.uri/],
    ['an app with https', app({ uri: 'https://h' }), /apps\.0\.uri: use tcp/],
    ['an app with a path', app({ uri: 'http://h:1/admin' }), /apps\.0\.uri: .*without a path/],
    ['a tcp app without a port', app({ uri: 'tcp://h' }), /apps\.0\.uri: use tcp/],
    ['rewrite', app({ rewrite: {} }), /apps\.0\.rewrite: .*not supported/],
    [
      'an app named twice',
      {
        ...base,
        app_service: {
          enabled: true,
          apps: [
            { name: 'a', uri: 'tcp://h:1' },
            { name: 'a', uri: 'tcp://h:2' },
          ],
        },
      },
      /apps: an app is named twice/,
    ],
    [
      'dynamic apps',
      { ...base, app_service: { enabled: true, resources: [] } },
      /app_service\.resources: dynamic apps are not supported in this version/,
    ],
    ['db', { ...base, db_service: { enabled: true } }, /db_service\.enabled: not in this version/],
    [
      'kube',
      { ...base, kubernetes_service: { enabled: true } },
      /kubernetes_service\.enabled: not in/,
    ],
    [
      'discovery',
      { ...base, discovery_service: { enabled: true } },
      /discovery_service\.enabled: not in/,
    ],
    [
      'an unknown key of db',
      { ...base, db_service: { enabled: false, x: 1 } },
      /db_service\.x: unknown/,
    ],
    ['a list', [], /^\(document\)/],
    ['nothing', null, /^\(document\)/],
  ])('%s', (_what, value, message) => {
    expect(refusal(() => read(value))).toEqual({
      code: 'ERR_CONFIG_INVALID',
      message: expect.stringMatching(message) as string,
    })
  })

  test('a mistyped token is never repeated in the message', () => {
    const { message } = refusal(() => read(withMain({ auth_token: 'pst_join_secret' })))
    expect(message).not.toContain('secret')
  })

  test('a host name that cannot be a node name asks for nodename', () => {
    const odd = { hostname: 'büro_pc' }
    expect(refusal(() => parseAgentConfig(JSON.stringify(base), odd)).message).toMatch(
      /^postern\.nodename: .*host name/,
    )
  })

  test.each([
    ['broken YAML', 'version: [v1'],
    ['a key twice', 'version: v1\nversion: v1'],
    ['an alias bomb', `a: &a [x,x]\nb: [${'*a,'.repeat(50)}]\nversion: v1`],
  ])('%s', (_what, text) => {
    expect(refusal(() => parseAgentConfig(text, machine)).code).toBe('ERR_CONFIG_INVALID')
  })

  test('a file above the limit is refused before it is parsed', () => {
    const text = `# ${'x'.repeat(LIMITS.configFile.value)}`
    expect(refusal(() => parseAgentConfig(text, machine)).code).toBe('ERR_INPUT_TOO_LARGE')
  })
})
