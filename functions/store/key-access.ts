/**
 * Which keys each function may touch: `dynamodb:LeadingKeys` of its IAM policy is made from these lists, so that a bug in one
 * verb is worth only that verb (protocols.md 10). A prefix that ends in `#` is matched as `prefix*`, any other exactly.
 */
export interface KeyAccess {
  readonly read: readonly string[]
  readonly write: readonly string[]
}

const EVENTS = ['EVENT#', 'EVENTDAY#'] as const
const POLICY_SOURCES = ['ROLE#', 'USER#', 'LOCK#'] as const
const REQUESTS = ['IDEM#', 'ONCE#'] as const
/** What every verb reads before it answers: the cluster's name and its CAs. */
const BASE = ['CLUSTER', 'CA'] as const

export const KEY_ACCESS = {
  /** Resources, tokens, roles, users, locks, events. Signs nothing. */
  api: {
    read: [
      ...BASE,
      'JWTKEY',
      'POLICY#cas',
      'TOKEN#',
      'AGENT#',
      'NAME#',
      'TUNNEL#',
      'LEASE',
      'POLICY#version',
      'LOCKED#',
      'APIKEY#',
      'KEYID#',
      'CONNECTOR#',
      'ISSUER#',
      'LIST#',
      ...POLICY_SOURCES,
      ...EVENTS,
      'IDEM#',
    ],
    write: [
      'TOKEN#',
      'SECRET#',
      'AGENT#',
      'KEY#',
      'NAME#',
      'TUNNEL#',
      'PASSWORD#',
      'POLICY#version',
      'DEPARTURE',
      'LOCKED#',
      'APIKEY#',
      'KEYID#',
      'CONNECTOR#',
      'ISSUER#',
      ...POLICY_SOURCES,
      ...EVENTS,
      ...REQUESTS,
    ],
  },
  /** Join and renewal: makes agents, counts tokens, may lock a copied identity. */
  join: {
    read: [
      ...BASE,
      'TOKEN#',
      'SECRET#',
      'USE#',
      'BOUND#',
      'AGENT#',
      'KEY#',
      'NAME#',
      'LOCKED#',
      'LOCK#',
    ],
    write: [
      'TOKEN#',
      'USE#',
      'BOUND#',
      'AGENT#',
      'KEY#',
      'NAME#',
      'LOCKED#',
      'LOCK#',
      'POLICY#version',
      'ONCE#',
      ...EVENTS,
    ],
  },
  /** Sign-in: the only one that reads password hashes. */
  login: {
    read: [...BASE, 'USER#', 'ROLE#', 'LOCK#', 'PASSWORD#', 'LOCKED#', 'APIKEY#'],
    write: ['ONCE#', ...EVENTS],
  },
  /** Signs the policy, its freshness, and routes. */
  policy: {
    read: [
      ...BASE,
      'POLICY#version',
      'POLICY#cas',
      'POLICY#signed',
      'POLICY#freshness',
      'POLICYDOC#',
      'AGENT#',
      'LIST#',
      'NAME#',
      'TUNNEL#',
      'LEASE',
      'LOCKED#',
      'APIKEY#',
      ...POLICY_SOURCES,
    ],
    /** The version is bumped when the signed document grows old. */
    write: [
      'POLICY#version',
      'POLICY#cas',
      'POLICY#signed',
      'POLICY#freshness',
      'POLICYDOC#',
      'ONCE#',
    ],
  },
  /** Rotates the CAs: makes and retires keys, and says who is trusted. Nobody else writes their rows. */
  rotate: {
    read: [
      ...BASE,
      'JWTKEY',
      'DBCLIENTCA',
      'POLICY#cas',
      'AGENT#',
      'LIST#',
      'LOCKED#',
      'APIKEY#',
      'ONCE#',
      ...POLICY_SOURCES,
    ],
    write: ['CA', 'JWTKEY', 'DBCLIENTCA', 'POLICY#version', 'ONCE#', ...EVENTS],
  },
  /** Sets the cluster up, and mints operator keys for whoever AWS says may call it. Signs nothing. */
  bootstrap: {
    read: [...BASE, 'ROLE#', 'USER#'],
    write: ['CLUSTER', 'ROLE#', 'USER#', 'POLICY#version', 'APIKEY#', 'KEYID#', ...EVENTS],
  },
  /** Join tokens that a stack declares for its own machines. Each gets the one key of its token in place of the prefix. */
  declare: { read: ['CLUSTER', 'TOKEN#'], write: ['TOKEN#', ...EVENTS] },
  /** Copies the audit log out before the table forgets it. Changes nothing. */
  archive: { read: [...EVENTS], write: [] },
  /** Its lease, the tunnels it holds, the policy version, whose service left. */
  proxy: { read: ['LEASE', 'TUNNEL#', 'POLICY#version', 'DEPARTURE'], write: ['LEASE', 'TUNNEL#'] },
} as const satisfies Record<string, KeyAccess>
export type Verb = keyof typeof KEY_ACCESS
