/** Appends audit events for ever and says how far it got; spool.test.ts kills it in the middle. */
import { writeSync } from 'node:fs'
import { openSpool } from '../../../agent/audit/spool.ts'
import { systemClock } from '../../../core/clock.ts'
import { silentLog } from '../../../core/log.ts'
import { systemRandom } from '../../../core/random.ts'

const dataDir = process.argv[2] ?? ''
const spool = await openSpool({
  dataDir,
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  limits: { segment: 20_000 },
})
for (let n = 0; ; n++) {
  spool.append({
    type: 'session.start',
    outcome: 'ok',
    actor: 'ann',
    resource: undefined,
    session: undefined,
    reason: undefined,
    fields: { n },
  })
  writeSync(1, `${n}\n`)
}
