/** `npm run bench`: every benchmark, one after another, each in a process of its own; results in bench/results. */
import { spawnSync } from 'node:child_process'

const ALL = [
  'tunnel/run',
  'tunnel/distance',
  'tunnel/resume',
  'faults/run',
  'pgbench',
  'ssh',
  'joins',
  'join-methods',
  'certs',
  'decide',
  'lambdas',
  'rss',
  'storm',
  'cores',
]
const failed = ALL.filter((name) => {
  process.stdout.write(`\n== ${name}\n`)
  const file = new URL(`./${name}.ts`, import.meta.url).pathname
  return spawnSync(process.execPath, ['--import', 'tsx', file], { stdio: 'inherit' }).status !== 0
})
if (failed.length > 0) {
  process.stderr.write(`failed: ${failed.join(', ')}\n`)
  process.exitCode = 1
}
