/**
 * The unit of the agent. An agent that serves no ssh is shut in as far as systemd goes. One that
 * does starts people's shells, and whatever binds it binds them: sudo, package managers, debuggers would break in their sessions. So it
 * gets only what does not reach them, as OpenSSH's own unit has it; its helper processes drop rights themselves.
 */

export interface UnitInput {
  /** Program and arguments, absolute. */
  readonly command: readonly string[]
  readonly config: string
  readonly dataDir: string
  /** Serves ssh. */
  readonly sessions: boolean
}

/** Quoting of systemd.syntax(7): `%` and `$` are its own, the rest is quoted. */
const word = (text: string): string =>
  /^[A-Za-z0-9_./:@+-]+$/.test(text)
    ? text
    : `"${text.replaceAll(/["\\]/g, '\\$&').replaceAll('%', '%%').replaceAll('$', '$$$$')}"`

const ALONE = [
  '# Nobody else runs under this: the rest of the machine is out of reach.',
  'ProtectSystem=strict',
  'ProtectHome=yes',
  'PrivateTmp=yes',
  'PrivateDevices=yes',
  'ProtectClock=yes',
  'ProtectHostname=yes',
  'ProtectKernelLogs=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelTunables=yes',
  'ProtectControlGroups=yes',
  'ProtectProc=invisible',
  'NoNewPrivileges=yes',
  'CapabilityBoundingSet=',
  'AmbientCapabilities=',
  'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
  'RestrictNamespaces=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'LockPersonality=yes',
  'RemoveIPC=yes',
  'SystemCallArchitectures=native',
  'SystemCallFilter=@system-service',
  'SystemCallFilter=~@privileged @resources',
] as const

const SHARED = [
  '# Shells of people run below this: what is set here is set for them.',
  'KeyringMode=private',
  'TasksMax=infinity',
  '# Sessions end with the agent; each has its own helper, which is told first.',
  'KillMode=mixed',
  '# The way into the machine is the last thing to go when memory is short.',
  'OOMScoreAdjust=-500',
] as const

export function systemdUnit(input: UnitInput): string {
  const { command, config, dataDir, sessions } = input
  const start = [...command, 'agent', 'start', '-c', config].map(word).join(' ')
  return `# Written by postern agent install; changes belong into a drop-in: systemctl edit postern-agent
[Unit]
Description=Postern agent
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.exec.html
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${start}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5s
# Refused for good: a token that is used up, an identity that is locked. Trying again changes nothing.
RestartPreventExitStatus=2 3
TimeoutStopSec=30s
UMask=0077
LimitNOFILE=65536
LimitCORE=0
${sessions ? 'User=root' : `ReadWritePaths=${word(dataDir)}`}
${(sessions ? SHARED : ALONE).join('\n')}

[Install]
WantedBy=multi-user.target
`
}
