/** The kinds that `create`, `get` and `rm` know, in singular and plural, and where they live in the API. */
import type * as z from 'zod'
import {
  agentDocument,
  lockDocument,
  roleDocument,
  tokenDocument,
  userDocument,
} from '../core/api/documents.ts'
import { usage } from './ui/report.ts'

export const KINDS = ['token', 'role', 'user', 'lock', 'agent'] as const
export type Kind = (typeof KINDS)[number]
export const DOCUMENTS = {
  token: tokenDocument,
  role: roleDocument,
  user: userDocument,
  lock: lockDocument,
  agent: agentDocument,
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
