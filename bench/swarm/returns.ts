/** When the agents of a storm came back, out of how many were there at each look. */

export interface Moment {
  /** Seconds since the proxy listens again. */
  readonly at: number
  readonly up: number
}

export interface Returns {
  /** Seconds until the last, and until every second agent was back. */
  readonly took: number
  readonly half: number
  /** How many came in each second, and the most of them. */
  readonly histogram: readonly number[]
  readonly busiest: number
}

export function describeReturns(seen: readonly Moment[]): Returns {
  const last = seen.at(-1) ?? { at: 0, up: 0 }
  const histogram: number[] = Array.from({ length: Math.ceil(last.at) }, () => 0)
  let before = 0
  for (const { at, up } of seen) {
    const second = Math.min(Math.floor(at), histogram.length - 1)
    if (second >= 0) histogram[second] = (histogram[second] ?? 0) + up - before
    before = up
  }
  const half = seen.find(({ up }) => up * 2 >= last.up)?.at ?? last.at
  return { took: last.at, half, histogram, busiest: Math.max(0, ...histogram) }
}
