/** Unix accounts by name, through NSS, so that directories (LDAP, SSSD) count as /etc/passwd does. */
import koffi from 'koffi'

export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
  readonly shell: string
}

const libc = koffi.load(null)
const passwd = koffi.struct({
  name: 'str',
  password: 'str',
  uid: 'uint32',
  gid: 'uint32',
  comment: 'str',
  home: 'str',
  shell: 'str',
})
const getpwnam = libc.func('getpwnam', koffi.pointer(passwd), ['str'])

interface Passwd {
  readonly name: string | null
  readonly uid: number
  readonly gid: number
  readonly home: string | null
  readonly shell: string | null
}

/** undefined when there is no such account. May wait for a directory server: never call it on the agent's main thread. */
export function accountByName(login: string): Account | undefined {
  const pointer: unknown = getpwnam(login)
  if (pointer === null || pointer === undefined) return undefined
  const found = koffi.decode(pointer, passwd) as Passwd
  // A directory that matches names loosely must not turn one login into another.
  if (found.name !== login) return undefined
  return {
    name: login,
    uid: found.uid,
    gid: found.gid,
    home: found.home === null || found.home === '' ? '/' : found.home,
    shell: found.shell === null || found.shell === '' ? '/bin/sh' : found.shell,
  }
}
