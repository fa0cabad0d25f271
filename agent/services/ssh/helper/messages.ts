/**
 * What the agent's worker and a session helper say to each other: one JSON object a line, on the helper's stdin and stdout.
 * Descriptors travel beside it on a socket that keeps message boundaries, each sent just before the line that tells of it.
 *
 * The helper runs as the session's user: what it says is the user's word. The worker parses it strictly and grants nothing
 * for it; what the agent says to the helper is trusted.
 */
import * as z from 'zod'
import type { Account } from './accounts.ts'
import type { WindowSize } from './terminal.ts'

export type Target = { readonly host: string; readonly port: number } | { readonly path: string }

export type Command =
  | { readonly do: 'become'; readonly account: Account }
  | {
      readonly do: 'run'
      readonly id: number
      readonly file: string
      readonly argv: readonly string[]
      readonly env: Readonly<Record<string, string>>
      readonly terminal?: {
        readonly size: WindowSize
        readonly modes: readonly (readonly [number, number])[]
      }
    }
  | { readonly do: 'resize'; readonly id: number; readonly size: WindowSize }
  | { readonly do: 'signal'; readonly id: number; readonly signal: number }
  /** The output was read to its end: the slave side of the terminal may go. */
  | { readonly do: 'release'; readonly id: number }
  | { readonly do: 'connect'; readonly id: number; readonly to: Target }
  | { readonly do: 'listen'; readonly id: number; readonly at: Target | { readonly agent: true } }
  | { readonly do: 'unlisten'; readonly id: number }

const id = z.int().min(0)
const reason = z.string().max(512)

/** Lines with `fds` follow descriptors whose tag is their id. */
export const helperEvent = z.discriminatedUnion('did', [
  z.strictObject({ did: z.literal('boot') }),
  z.strictObject({ did: z.literal('become'), atHome: z.boolean() }),
  z.strictObject({ did: z.literal('refuse'), reason }),
  z.strictObject({ did: z.literal('run'), id, pid: z.int().min(2) }),
  z.strictObject({ did: z.literal('exit'), id, code: z.int().min(0).max(255) }),
  z.strictObject({ did: z.literal('die'), id, signal: z.int().min(1).max(64) }),
  z.strictObject({ did: z.literal('connect'), id }),
  z.strictObject({
    did: z.literal('listen'),
    id,
    port: z.int().min(1).max(65535).optional(),
    path: z.string().max(512).optional(),
  }),
  z.strictObject({ did: z.literal('accept'), id, host: z.string().max(64), port: z.int() }),
  z.strictObject({ did: z.literal('fail'), id, reason }),
])
export type HelperEvent = z.output<typeof helperEvent>
