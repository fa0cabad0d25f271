// The import table of docs/adr/0004: who may import whom. A violation is a design decision made by accident.
import { expect, test } from 'vitest'
import { roomOf, sources, type Room } from './sources.ts'

const OURS: Record<Room, readonly Room[]> = {
  core: ['core'],
  net: ['core', 'net'],
  functions: ['core', 'functions'],
  proxy: ['core', 'net', 'proxy'],
  agent: ['core', 'net', 'agent'],
  cli: ['core', 'net', 'cli'],
  infra: ['core', 'functions', 'infra'],
}

const NODE_PURE = ['node:crypto', 'node:stream', 'node:buffer', 'node:util']
const OUTSIDE: Record<Room, (from: string, path: string) => boolean> = {
  core: (from) => ['jose', 'zod', 'zod/mini', ...NODE_PURE].includes(from),
  net: (from) => from.startsWith('node:'),
  functions: (from, path) =>
    from.startsWith('node:') ||
    from === 'hono' ||
    from.startsWith('hono/') ||
    from === 'zod' ||
    from === 'jose' ||
    (from.startsWith('@aws-sdk/') &&
      /^functions\/(store\/|signers\/|[a-z.-]*wiring\.ts|[a-z]+\.lambda\.ts)/.test(path)) ||
    (path.startsWith('functions/store/embedded/') &&
      /^(dynalite|abstract-level|classic-level)/.test(from)),
  proxy: (from) => from === 'zod' || from.startsWith('node:'),
  agent: (from, path) =>
    from.startsWith('node:') ||
    ['yaml', 'zod', 'pino'].includes(from) ||
    (path.startsWith('agent/services/ssh/') &&
      /^(ssh2|koffi|@noble\/post-quantum)(\/|$)/.test(from)),
  cli: (from, path) =>
    from.startsWith('node:') ||
    (path.startsWith('cli/aws/') && from === '@aws-sdk/client-cloudformation') ||
    [
      'commander',
      '@commander-js/extra-typings',
      '@clack/prompts',
      'yaml',
      'zod',
      'pino',
      '@hono/node-server',
    ].includes(from),
  infra: (from) =>
    from.startsWith('node:') || /^(aws-cdk-lib|constructs|cdk-nag|esbuild)(\/|$)/.test(from),
}

/** The commands that run a part of the system may import that part; nothing else of the command line may. */
const RUNS_A_PART = /^cli\/(commands\/(up|serve|agent)|up\/|serve\/)/
/** infra sees names and shapes of the functions, never their code. */
const INFRA_SEES = /^functions\/(env|store\/(table|key-access))\.ts$/

function allowed(room: Room, path: string, from: string, typeOnly: boolean): boolean {
  const target = roomOf(from)
  if (!target) return OUTSIDE[room](from, path) || (typeOnly && from === 'aws-lambda')
  if (room === 'infra' && target === 'functions') return INFRA_SEES.test(from)
  if (room === 'cli' && ['functions', 'proxy', 'agent'].includes(target))
    return RUNS_A_PART.test(path) || (typeOnly && from === 'functions/app.ts')
  return OURS[room].includes(target)
}

test('rooms import only what the table allows', () => {
  const wrong = sources().flatMap(({ path, imports }) => {
    const room = roomOf(path)
    if (!room) return []
    return imports
      .filter(({ from, typeOnly }) => !allowed(room, path, from, typeOnly))
      .map((i) => `${path} → ${i.from}`)
  })
  expect(wrong).toEqual([])
})

test('no file imports itself in a circle', () => {
  const graph = new Map(
    sources().map((s) => [s.path, s.imports.filter((i) => !i.typeOnly).map((i) => i.from)]),
  )
  const done = new Set<string>()
  const circles: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path)
    if (at >= 0) return void circles.push([...trail.slice(at), path].join(' → '))
    if (done.has(path)) return
    for (const next of graph.get(path) ?? []) if (graph.has(next)) visit(next, [...trail, path])
    done.add(path)
  }
  for (const path of graph.keys()) visit(path, [])
  expect(circles).toEqual([])
})

test('the one-way street: agent and proxy never know each other, core knows nobody', () => {
  const pairs = sources().flatMap((s) =>
    s.imports.map((i) => `${roomOf(s.path)}→${roomOf(i.from) ?? 'outside'}`),
  )
  expect(pairs).not.toContain('agent→proxy')
  expect(pairs).not.toContain('proxy→agent')
  expect(
    pairs.filter((p) => p.startsWith('core→') && !['core→core', 'core→outside'].includes(p)),
  ).toEqual([])
})
