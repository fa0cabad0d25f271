/** Joining: one token, one identity, whatever happens on the way. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { joined, mint, tryJoin } from './support/machine.ts'
import { openWorld, type World } from './support/world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())

describe('a join', () => {
  test('gives an identity', async () => {
    const secret = await mint(world)
    const agent = await joined(world, { secret })
    expect(agent.answer.body).toMatchObject({ service: 'ssh', generation: 1 })
  })
  test('200 at once on a one-use token', async () => {
    const secret = await mint(world)
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        tryJoin(world, { secret, node: `race-${i}`, ip: `198.51.100.${i}` }),
      ),
    )
    expect(answers.filter((a) => a.status === 200)).toHaveLength(1)
    expect(new Set(answers.filter((a) => a.status !== 200).map((a) => a.body.code))).toEqual(
      new Set(['ERR_JOIN_REFUSED']),
    )
  })
})
