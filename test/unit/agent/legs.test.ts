// Where an agent's two legs stand, and where its streams come in.
import { expect, test } from 'vitest'
import { createLegs } from '../../../agent/legs.ts'
import type { ProxyId } from '../../../core/ids.ts'

const [one, two] = ['px_1', 'px_2'] as [ProxyId, ProxyId]

test('a proxy that leaves is served through until it has left or another one stands', () => {
  const legs = createLegs()
  legs.first.stands(one)
  expect(legs.serving()).toEqual([one])
  legs.first.fell()
  legs.first.lingers()
  expect(legs.connected()).toEqual([])
  expect(legs.serving()).toEqual([one])
  legs.first.left()
  expect(legs.serving()).toEqual([])

  legs.first.stands(one)
  legs.first.fell()
  legs.first.lingers()
  legs.first.stands(two)
  expect(legs.serving()).toEqual([two])
})

test('one that lingers is not counted beside one that stands', () => {
  const legs = createLegs()
  legs.first.stands(one)
  legs.second.stands(two)
  legs.first.fell()
  legs.first.lingers()
  expect(legs.serving()).toEqual([two])
  legs.second.fell()
  expect(legs.serving()).toEqual([one])
})

// Behind one address nothing but the next dial tells where it leads. After an outage of many tries the count began at its end, and the
// second tunnel waited for most of a minute.
test('dials that led to the same proxy are counted by themselves, and only in a row', () => {
  const { first } = createLegs()
  expect([false, false, true, true, false, true].map((same) => first.failed(same))).toEqual([
    0, 0, 1, 2, 0, 1,
  ])
  first.stands(one)
  expect(first.failed(true)).toBe(1)
})
