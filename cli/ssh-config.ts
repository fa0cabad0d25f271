/**
 * What stock OpenSSH needs to reach nodes by themselves: an ssh_config and a known_hosts. Host keys are never asked about:
 * a node shows a certificate of the host CA for `<node>.<cluster>`, and nothing else is believed.
 */
import { AppError } from '../core/errors.ts'

export interface SshConfigInput {
  readonly cluster: string
  /** Absolute path of the profile's directory. */
  readonly profileDir: string
  readonly self: { readonly node: string; readonly script: string }
}

/** ssh_config knows no escape for a double quote, and a line ends where it ends. */
function quoted(path: string): string {
  if (/["\r\n]/.test(path))
    throw new AppError('ERR_USAGE', `${path}: ssh cannot use a path with a double quote in it`)
  return `"${path.replaceAll('%', '%%')}"`
}
/** For the shell that runs the ProxyCommand; `%` is a token of ssh before that. */
const shellWord = (text: string): string =>
  `'${text.replaceAll("'", `'\\''`).replaceAll('%', '%%')}'`

/** Only what the cluster's own CA signed, and only for names of the cluster. */
export const knownHosts = (cluster: string, hostCaKeys: readonly string[]): string =>
  hostCaKeys.map((key) => `@cert-authority *.${cluster} ${key.trim()}\n`).join('')

function settings({ profileDir, self }: SshConfigInput): string[] {
  const file = (name: string) => quoted(`${profileDir}/${name}`)
  const command = [self.node, self.script].map(shellWord).join(' ')
  return [
    `ProxyCommand ${command} proxy ssh %h:%p --profile ${shellWord(profileDir)}`,
    `IdentityFile ${file('key.pem')}`,
    `CertificateFile ${file('key.pem-cert.pub')}`,
    'IdentitiesOnly yes',
    'PreferredAuthentications publickey',
    `UserKnownHostsFile ${file('known_hosts')}`,
    'GlobalKnownHostsFile none',
    'StrictHostKeyChecking yes',
    'UpdateHostKeys no',
    // OpenSSH asks for chacha20 first; on a processor with AES instructions GCM moves a third more.
    'Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com',
  ]
}
const indented = (lines: readonly string[]): string => lines.map((l) => `    ${l}\n`).join('')

/** For ~/.ssh/config: only names of the cluster, so that no other host is touched. */
export const sshConfigBlock = (input: SshConfigInput): string =>
  `# Postern, cluster ${input.cluster}\nHost *.${input.cluster}\n${indented(settings(input))}`

/** For `ssh -F`: short names mean nodes as well, `web-1` is `web-1.<cluster>`. */
export const sshConfigFile = (input: SshConfigInput): string =>
  `# Postern, cluster ${input.cluster}. Made by postern; changes are lost.
Host * !*.${input.cluster}
    HostName %h.${input.cluster}

Host *
${indented(settings(input))}`
