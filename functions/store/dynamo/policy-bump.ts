/** The write that every change of the policy carries in its own transaction. */
import { keys } from '../table.ts'
import type { Write } from './table-client.ts'

export const bumpVersion = {
  key: keys.version(),
  update: {
    text: 'ADD #version :one SET #entity = :entity, v = :v',
    names: { '#version': 'version', '#entity': 'entity' },
    values: { ':one': 1, ':entity': 'version', ':v': 1 },
  },
} as const satisfies Write
