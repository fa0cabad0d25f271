/** The worker and the helper run from their sources too, as in a checkout that was never built. */
import { expect, test } from 'vitest'
import { entryOf } from '../../../agent/services/ssh/entry.ts'
import { NODE, openWorld } from './world.ts'

test('ssh works without a build', async () => {
  const entries = {
    worker: entryOf('ssh-worker').file,
    helper: entryOf('ssh-session-helper').file,
  }
  const world = await openWorld({ service: { entries } })
  expect(entries.worker).toMatch(/ssh-worker\.main\.ts$/)
  expect(await world.ssh([NODE, 'echo from source'])).toMatchObject({ stdout: 'from source\n' })
  await world.close()
})
