/**
 * Which of many selectors hold for a resource, without asking each: a selector that wants one exact value of some key is looked
 * up by that value. Of a hundred roles, one for each environment, one is asked and not a hundred.
 */
import type { Labels } from '../domain/name.ts'
import { conditionsHold, type Conditions } from './match.ts'

export interface LabelIndex {
  /** Places in the list it was made from, of those that hold, ascending. */
  readonly holding: (labels: Labels) => readonly number[]
}

export function labelIndex(selectors: readonly (Conditions | undefined)[]): LabelIndex {
  const byValue = new Map<string, Map<string, number[]>>()
  const others: number[] = []
  for (const [place, conditions] of selectors.entries()) {
    // One that wants nothing of any key, `'*': '*'`, always holds; an absent one never does.
    if (!conditions) continue
    const [first] = conditions
    if (first?.only === undefined) {
      others.push(place)
      continue
    }
    let values = byValue.get(first.key)
    if (!values) byValue.set(first.key, (values = new Map<string, number[]>()))
    const places = values.get(first.only)
    if (places) places.push(place)
    else values.set(first.only, [place])
  }

  const add = (found: number[], places: readonly number[], labels: Labels): void => {
    for (const place of places) {
      const conditions = selectors[place]
      if (conditions && conditionsHold(conditions, labels)) found.push(place)
    }
  }
  return {
    holding(labels) {
      const found: number[] = []
      for (const [key, values] of byValue) {
        const value: unknown = labels[key]
        const places = typeof value === 'string' ? values.get(value) : undefined
        if (places) add(found, places, labels)
      }
      add(found, others, labels)
      return found.length > 1 ? found.sort((a, b) => a - b) : found
    },
  }
}
