// Generated pages are what the code says today.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { PAGES } from '../../scripts/docs.ts'

test.each(Object.entries(PAGES))('%s is current (npm run docs)', (path, page) => {
  expect(readFileSync(path, 'utf8')).toBe(page())
})
