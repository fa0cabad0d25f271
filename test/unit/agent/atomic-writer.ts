/** Replaces a file for ever and says how far it got; data-dir.test.ts kills it in the middle. */
import { writeAtomic } from '../../../agent/identity/files.ts'

const path = process.argv[2] ?? ''
for (let n = 0; ; n++) {
  await writeAtomic(path, JSON.stringify({ n, pad: 'x'.repeat(200_000) }))
  process.stdout.write(`${n}\n`)
}
