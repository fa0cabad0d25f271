// Every incident of docs/incidents.md that is ours to answer is a test with its name.
import { readFileSync } from 'node:fs'
import { normalize } from 'node:path'
import { expect, test } from 'vitest'
import { listFiles } from './sources.ts'

interface Row {
  readonly ids: readonly string[]
  readonly answer: string
  readonly tests: readonly string[]
}
const ID = /CVE-\d{4}-\d+|GHSA(?:-[a-z0-9]{4}){3}|SPIRE \d+\.\d+\.\d+/g
const rows: Row[] = readFileSync('docs/incidents.md', 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| incident'))
  .map((line) => {
    const [, incident = '', , , answer = ''] = line.split('|').map((cell) => cell.trim())
    const found = incident.match(ID)
    const tests = [...answer.matchAll(/\]\(([^)]+)\)/g)].map((m) => normalize(`docs/${m[1]}`))
    return { ids: found ?? [incident], answer, tests }
  })

/** The texts of a test file, without its comments: what a title can be made of. */
const texts = (path: string): string =>
  readFileSync(path, 'utf8')
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/(^|\s)\/\/.*$/gm, '')

test('each row names a test that carries the name of its incident, or says why there is none', () => {
  expect(rows.length).toBeGreaterThan(60)
  const wrong = rows.flatMap(({ ids, answer, tests }) =>
    tests.length === 0
      ? /^not here: .{15,}$/.test(answer)
        ? []
        : [`${ids[0]}: neither a test nor a reason`]
      : [
          ...ids
            .filter((id) => !tests.some((path) => texts(path).includes(id)))
            .map((id) => `${id}: no test of this name in ${tests.join(', ')}`),
          ...tests
            .filter((path) => !ids.some((id) => texts(path).includes(id)))
            .map((path) => `${path} has none of ${ids.join(', ')}`),
        ],
  )
  expect(wrong).toEqual([])
})

test('no incident has two rows', () => {
  const ids = rows.flatMap((row) => row.ids)
  expect(ids.filter((id, i) => ids.indexOf(id) !== i)).toEqual([])
})

test('a test that carries the name of an incident has its row', () => {
  const known = new Set(rows.flatMap((row) => row.ids))
  const missing = listFiles()
    .filter((f) => /^test\/(?!architecture|bench).*\.test\.ts$/.test(f))
    .flatMap((f) => (texts(f).match(ID) ?? []).map((id) => `${f}: ${id}`))
    .filter((found) => !known.has(found.split(': ')[1] ?? ''))
  expect(missing).toEqual([])
})
