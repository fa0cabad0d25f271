/**
 * Mutated inputs in numbers, each held to a bound of time and memory. Processor time and not the clock is measured, so that a
 * busy machine fails nothing, and an input that seems to break a bound is given two more chances: a collection of garbage may
 * have fallen into the first.
 */
import { getHeapStatistics } from 'node:v8'
import { expect } from 'vitest'

const asked = Number(process.env['FUZZ_RUNS'] ?? '')
/** 20,000 inputs unless FUZZ_RUNS says otherwise (the long run takes 1,000,000). */
export const boundedRuns = Number.isSafeInteger(asked) && asked > 0 ? asked : 20_000
export const boundedTimeout = Math.max(120_000, boundedRuns * 3)

export interface Chance {
  /** An integer below `n`. */
  below(n: number): number
  pick<T>(of: readonly T[]): T
}

/** xorshift32: quick, and the same inputs again from the seed that a failure prints. */
export function chance(seed: number): Chance {
  let state = seed | 0 || 1
  const next = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
  const below = (n: number): number => next() % n
  return {
    below,
    pick<T>(of: readonly T[]): T {
      return of[below(of.length)] as T
    },
  }
}

const EXTREMES = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff]

/** A few changes: bits, bytes, extreme numbers, cuts, repeats, pieces moved. Never longer than twice the input and 64 bytes. */
export function mutate(input: Buffer, c: Chance): Buffer {
  let bytes = Buffer.from(input)
  for (let changes = 1 + c.below(4); changes > 0; changes--) {
    const at = c.below(bytes.length + 1)
    switch (c.below(7)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << c.below(8))
        break
      case 1:
        if (at < bytes.length) bytes[at] = c.below(256)
        break
      case 2:
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(c.pick(EXTREMES), at)
        break
      case 3:
        bytes = bytes.subarray(0, at)
        break
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(c.below(at + 1))])
        break
      case 5:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from([c.below(256)]),
          bytes.subarray(at),
        ])
        break
      default:
        bytes = Buffer.concat([bytes.subarray(at), bytes.subarray(0, at)])
    }
    if (bytes.length > 2 * input.length + 64) bytes = bytes.subarray(0, 2 * input.length + 64)
  }
  return bytes
}

const CPU_MAX_MS = 50
const MiB = 1024 * 1024

interface Cost {
  readonly ms: number
  readonly bytes: number
}
/** Bytes in use, without what process.memoryUsage() also asks the kernel: that would cost more than most inputs do. */
function held(): number {
  const { used_heap_size, external_memory } = getHeapStatistics()
  return used_heap_size + external_memory
}
/** What passed since it was called. */
function meter(): () => Cost {
  const memory = held()
  const cpu = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    return { ms: (user + system) / 1000, bytes: held() - memory }
  }
}

export interface Bounds {
  /** Inputs when FUZZ_RUNS asks for no number. Default 20,000. */
  readonly few?: number
  /** Bytes besides 4 × input. Default 1 MiB. */
  readonly memory?: number
}

/** Inputs between two rests, in which promises that nobody waits for are settled: else a million of them pile up. */
const REST = 256

/** Runs `use` on `runs` inputs (all that were asked for, when FUZZ_RUNS asks): at most 50 ms of processor time and 4 × input + `memory` (1 MiB) for each. */
export async function bounded(
  make: (c: Chance) => Buffer,
  use: (input: Buffer) => void | Promise<void>,
  { few = boundedRuns, memory = MiB }: Bounds = {},
): Promise<void> {
  const runs = asked > 0 ? boundedRuns : few
  const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 0x7fffffff)
  const c = chance(seed)
  for (let i = 0; i < runs; i++) {
    const input = make(c)
    const most = 4 * input.length + memory
    const over = ({ ms, bytes }: Cost): boolean => ms > CPU_MAX_MS || bytes > most
    try {
      const seen: Cost[] = []
      do {
        const spent = meter()
        const working = use(input)
        if (working) await working
        seen.push(spent())
      } while (seen.length < 3 && seen.every(over))
      if (seen.every(over)) expect.fail(`too much: ${JSON.stringify(seen)}`)
    } catch (cause) {
      const shown = `${input.toString('hex', 0, 400)} (${input.length} bytes)`
      throw new Error(`FUZZ_SEED=${seed}, input ${i}: ${shown}`, { cause })
    }
    if (i % REST === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}
