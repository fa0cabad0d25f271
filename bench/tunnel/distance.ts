/**
 * `npm run bench:distance`: one stream over a round trip of 100 ms. The tunnel between proxy and agent runs through a relay that
 * delays each way: unlike `tc netem` it needs neither root nor a kernel with that module, and it delays whole connections alike. The
 * baseline is plain TCP straight through such a relay to the target, interleaved: the kernels at its ends do not see the delay.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { stop } from '../support/processes.ts'
import { compare, save, type Variant } from '../support/rounds.ts'
import { bulkDown, bulkUp } from './user.ts'
import { writeWorld } from './world.ts'

const BYTES = Number(process.env['BENCH_MIB'] ?? 256) << 20
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5)
const dir = mkdtempSync(join(os.tmpdir(), 'postern-bench-'))
const world = join(dir, 'world.json')
const children: ChildProcess[] = []
async function start(script: string, ...args: string[]): Promise<string> {
  const file = new URL(`./${script}.ts`, import.meta.url).pathname
  const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return line.toString().trim()
}

try {
  await writeWorld(world)
  const target = await start('target')
  const [door = 0, users = 0] = JSON.parse(await start('proxy', world, 'ours')) as number[]
  await start('agent', world, 'ours', await start('relay', String(door)), target)
  const plain = Number(await start('relay', target))
  const rows: object[] = []
  for (const [name, run] of [
    ['up', bulkUp],
    ['down', bulkDown],
  ] as const) {
    // The windows that grow are paid for by a user's first transfer, so it is stated.
    const cold = await run(users, BYTES)
    const variants: [Variant, Variant] = [
      { name: 'ours', run: () => run(users, BYTES) },
      { name: 'plain TCP', run: () => run(plain, BYTES) },
    ]
    rows.push(await compare(`one stream ${name} over 100 ms`, 'MB/s', '≥ 40', variants, ROUNDS), {
      figure: `the first of them, ${name}`,
      unit: 'MB/s',
      value: cold,
      target: 'stated',
    })
    process.stdout.write(`  the first: ${cold.toFixed(1)} MB/s\n`)
  }
  save('distance', rows)
} finally {
  for (const child of children.reverse()) await stop(child)
  rmSync(dir, { recursive: true, force: true })
}
process.exit(0)
