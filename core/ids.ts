/**
 * Branded ids: a string that went through its parser once, at the edge, and cannot be mixed up with another kind of id.
 * Ids of ours are made by the server, carry their kind as a prefix, and sort by time (ULID).
 */
import type { Instant } from './clock.ts'
import type { Random } from './random.ts'

export type Id<Kind extends string> = string & { readonly __id: Kind }
export type AgentId = Id<'agent'>
export type ProxyId = Id<'proxy'>
export type EventId = Id<'event'>
export type SessionId = Id<'session'>
export type LockId = Id<'lock'>
export type KeyId = Id<'key'>
export type ConnId = Id<'conn'>
/** SHA-256 of a public key's SPKI, 43 base64url characters. */
export type Thumbprint = Id<'thumbprint'>

const CROCKFORD = '0123456789abcdefghjkmnpqrstvwxyz'

/** A ULID in lower case: 48 bits of time, 80 bits of randomness. Sorts by time. */
export function ulid(now: Instant, random: Random): string {
  let out = ''
  let t = Math.floor(now)
  for (let i = 0; i < 10; i++) {
    out = CROCKFORD.charAt(t % 32) + out
    t = Math.floor(t / 32)
  }
  let bits = 0
  let acc = 0
  for (const byte of random.bytes(10)) {
    acc = (acc << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      out += CROCKFORD.charAt((acc >> bits) & 31)
    }
    acc &= (1 << bits) - 1
  }
  return out
}

const PREFIX = {
  agent: 'ag',
  proxy: 'px',
  event: 'ev',
  session: 'se',
  lock: 'lk',
  key: 'ky',
  conn: 'cn',
} as const
type MadeKind = keyof typeof PREFIX

export const newId = <K extends MadeKind>(kind: K, now: Instant, random: Random): Id<K> =>
  `${PREFIX[kind]}_${ulid(now, random)}` as Id<K>

/** The id, or undefined when the text is not exactly one of this kind. */
export function parseId<K extends MadeKind>(kind: K, text: string): Id<K> | undefined {
  return new RegExp(`^${PREFIX[kind]}_[0-9a-hjkmnp-tv-z]{26}$`).test(text)
    ? (text as Id<K>)
    : undefined
}

/**
 * A proxy that joined has a row like an agent's, under the same ULID: so locks, generations and removal are those of agents. Its
 * certificates and leases name it as a proxy.
 */
export const proxyIdOf = (agent: AgentId): ProxyId => `px_${agent.slice(3)}` as ProxyId
export const agentIdOf = (proxy: ProxyId): AgentId => `ag_${proxy.slice(3)}` as AgentId
