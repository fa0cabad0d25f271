/** Running programs over stock ssh: exit codes, signals, streams and environment arrive as they were. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { NODE, openWorld, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())

describe('exec', () => {
  test.each([0, 1, 42, 255])('exit code %i arrives', async (code) => {
    const result = await world.ssh([NODE, `exit ${code}`])
    expect(result).toMatchObject({ code, stderr: '' })
  })
})
