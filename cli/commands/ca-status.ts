/** `postern ca status`. */
import { caList, type CaDocument } from '../../core/api/cas.ts'
import type { Instant } from '../../core/clock.ts'
import { withClient } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { painter } from '../ui/style.ts'
import { table } from '../ui/table.ts'
import { ago, inTime } from '../ui/time.ts'

/** What happens next, in words. */
export function nextStep({ name, phase, rotation, rotated }: CaDocument, now: Instant): string {
  if (!rotation)
    return rotated === undefined ? 'never rotated' : `rotated ${ago(Date.parse(rotated), now)}`
  const next = rotation.next_phase === 'standby' ? 'done' : rotation.next_phase
  if (rotation.ends !== undefined) {
    const at = Date.parse(rotation.ends)
    return at <= now ? `${next} is due` : `${next} ${inTime(at, now)}`
  }
  return `${phase} since ${ago(Date.parse(rotation.since), now)}; next: postern ca rotate --type ${name} --phase ${rotation.next_phase}`
}

export async function caStatus(
  cli: Cli,
  options: ProfileOptions & { readonly json?: true | undefined },
): Promise<void> {
  const { items } = await withClient(cli, options, (client) => client.get(caList, '/v1/cas'))
  if (options.json) return cli.out(JSON.stringify(items, null, 2))
  const now = cli.clock.now()
  const rows = items.map((one) => [
    one.name,
    one.phase,
    one.signs.pin,
    String(one.trusted.length),
    nextStep(one, now),
  ])
  const header = ['CA', 'PHASE', 'SIGNS', 'TRUSTED', 'ROTATION']
  for (const line of table(header, rows, painter(cli.stdout, cli.env.noColor))) cli.out(line)
}
