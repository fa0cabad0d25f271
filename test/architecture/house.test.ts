// House rules that a compiler cannot see.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ERRORS } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { listFiles, sources } from './sources.ts'

const lines = (text: string) => text.split('\n').length
const strip = (text: string) =>
  text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '')

test('every source file says in its first lines what it is for', () => {
  const silent = sources().filter((s) => !/^(#!.*\n)?\s*\/\*\*/.test(s.text.slice(0, 400)))
  expect(silent.map((s) => s.path)).toEqual([])
})

/** One table each: they are read row by row, and splitting them would hide the whole. */
const TABLES = ['core/errors.ts', 'core/limits.ts']

test('no source file outgrows 300 lines', () => {
  expect(
    sources()
      .filter((s) => lines(s.text) > 301 && !TABLES.includes(s.path))
      .map((s) => `${s.path}: ${lines(s.text)}`),
  ).toEqual([])
})

/** Files that may touch the machine: its clock, its randomness, its environment. */
const MAY =
  /(^|\/)(clock|random|wiring|main|env)\.ts$|\.main\.ts$|\.lambda\.ts$|^infra\/|^cli\/(main|env)\.ts$/

test('clock, timers, randomness and environment come in as parameters', () => {
  const wild = sources()
    .filter((s) => !MAY.test(s.path))
    .flatMap((s) => {
      const found =
        strip(s.text).match(
          /\b(Date\.now|Math\.random|process\.env|setTimeout|setInterval)\b\s*[([<.]?/g,
        ) ?? []
      return found
        .filter((f) => !/^set(Timeout|Interval)\s*$/.test(f) || /\($/.test(f))
        .map((f) => `${s.path}: ${f}`)
    })
  // socket.setTimeout and similar methods are not global timers
  const text = new Map(sources().map((s) => [s.path, strip(s.text)]))
  const real = wild.filter((w) => {
    const [path = '', name = ''] = w.split(': ')
    const word = name.replace(/[^A-Za-z.]/g, '')
    return new RegExp(`(^|[^.\\w])${word.replace('.', '\\.')}\\b`).test(text.get(path) ?? '')
  })
  expect(real).toEqual([])
})

test('every error code is used', () => {
  const all = sources()
    .filter((s) => s.path !== 'core/errors.ts')
    .map((s) => s.text)
    .join('\n')
  expect(Object.keys(ERRORS).filter((code) => !all.includes(`'${code}'`))).toEqual([])
})

test('every limit is used', () => {
  const all = sources()
    .filter((s) => s.path !== 'core/limits.ts')
    .map((s) => s.text)
    .join('\n')
  expect(
    Object.keys(LIMITS).filter((name) => !new RegExp(`LIMITS\\.${name}\\b`).test(all)),
  ).toEqual([])
})

test('every link between our documents leads somewhere', () => {
  const files = new Set(listFiles())
  const broken = [...files]
    .filter((f) => f.endsWith('.md'))
    .flatMap((doc) => {
      const links = [
        ...readFileSync(doc, 'utf8').matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)/g),
      ]
      return links
        .map((m) => new URL(m[1] ?? '', `file:///${doc}`).pathname.slice(1))
        .filter(
          (target) =>
            !files.has(target) &&
            ![...files].some((f) => f.startsWith(`${target.replace(/\/$/, '')}/`)),
        )
        .map((target) => `${doc} → ${target}`)
    })
  expect(broken).toEqual([])
})

test('tests do not sleep, fix ports or skip in silence', () => {
  const bad = listFiles()
    .filter(
      (f) => f.startsWith('test/') && f.endsWith('.test.ts') && !f.startsWith('test/architecture/'),
    )
    .flatMap((f) => {
      const text = readFileSync(f, 'utf8')
      return [/\b(it|test|describe)\.(only|todo)\(/, /listen\((?!0\b)[1-9]\d{2,}/]
        .filter((pattern) => pattern.test(text))
        .map((pattern) => `${f}: ${pattern.source}`)
    })
  expect(bad).toEqual([])
})
