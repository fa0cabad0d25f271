/** The environment of a session: made from nothing, plus what the client may set. */
import type { Account } from '../helper/accounts.ts'
import type { Environment } from '../messages.ts'
import { LIMITS } from '../../../../core/limits.ts'

/** Names that the dynamic linker, shells and interpreters obey before the user's command runs: never from the client. */
const NEVER = /^(LD_|DYLD_|BASH_|ENV$|IFS$|PATH$|SHELLOPTS$|PS4$|NODE_OPTIONS$|PERL|PYTHON|RUBY)/
const LOCALE = /^(LANG|LANGUAGE|LC_[A-Z_]+)$/
const TERMINAL_KIND = /^(COLORTERM|TERM_PROGRAM|TERM_PROGRAM_VERSION|NO_COLOR)$/

/** Whether the client may set this variable. */
export function acceptsVariable(name: string, value: string, accepted: readonly string[]): boolean {
  if (value.includes('\0') || Buffer.byteLength(value) > LIMITS.sshEnvValue.value) return false
  if (NEVER.test(name) || !/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name)) return false
  return LOCALE.test(name) || TERMINAL_KIND.test(name) || accepted.includes(name)
}

export interface SessionVariables {
  readonly given: ReadonlyMap<string, string>
  readonly terminal: string | undefined
  readonly agentSocket: string | undefined
}

export function sessionEnvironment(
  account: Account,
  environment: Environment,
  session: SessionVariables,
): Record<string, string> {
  const { host, port } = environment.source
  return {
    ...Object.fromEntries(session.given),
    USER: account.name,
    LOGNAME: account.name,
    HOME: account.home,
    SHELL: account.shell,
    PATH: account.uid === 0 ? environment.rootPath : environment.path,
    MAIL: `/var/mail/${account.name}`,
    // Programs look whether these are set. The address is the proxy's word, and there is no port of ours.
    SSH_CLIENT: `${host} ${port} 0`,
    SSH_CONNECTION: `${host} ${port} 0.0.0.0 0`,
    ...(session.terminal !== undefined && { TERM: session.terminal }),
    ...(session.agentSocket !== undefined && { SSH_AUTH_SOCK: session.agentSocket }),
  }
}
