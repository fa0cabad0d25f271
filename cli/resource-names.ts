/** The kinds that `create`, `get`, `edit` and `rm` know, in singular and plural, and where they live in the API. */
import type * as z from 'zod'
import {
  agentDocument,
  appDocument,
  connectorDocument,
  keyDocument,
  lockDocument,
  nodeDocument,
  roleDocument,
  tokenDocument,
  userDocument,
} from '../core/api/documents.ts'
import { usage } from './ui/report.ts'

export const KINDS = [
  'token',
  'role',
  'user',
  'lock',
  'oidc_connector',
  'key',
  'agent',
  'node',
  'app',
] as const
export type Kind = (typeof KINDS)[number]
export const DOCUMENTS = {
  token: tokenDocument,
  role: roleDocument,
  user: userDocument,
  lock: lockDocument,
  oidc_connector: connectorDocument,
  key: keyDocument,
  agent: agentDocument,
  node: nodeDocument,
  app: appDocument,
} as const satisfies Record<Kind, z.ZodType>

export const pathOf = (kind: Kind, name?: string): string =>
  name === undefined ? `/v1/${kind}s` : `/v1/${kind}s/${encodeURIComponent(name)}`

/** `role`, `roles`, `role/dev`, `roles/dev`. */
export function parseResource(text: string): { readonly kind: Kind; readonly name?: string } {
  const [word = '', ...rest] = text.split('/')
  const kind = KINDS.find((k) => k === word || `${k}s` === word)
  if (kind === undefined)
    throw usage(`"${word}" is no kind of resource`, `use one of ${KINDS.join(', ')}`)
  const name = rest.join('/')
  return name === '' ? { kind } : { kind, name }
}

/** Those that a file makes. Keys are made by `keys add`, the others by agents. */
export const CREATABLE = ['token', 'role', 'user', 'lock', 'oidc_connector'] as const
/** Those that a file changes: tokens and locks are made and removed, never edited. */
export const EDITABLE = ['role', 'user', 'oidc_connector'] as const
