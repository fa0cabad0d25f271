/**
 * Writes the documents that are derived from code: docs/errors.md, docs/limits.md, docs/operations/metrics.md and docs/performance.md. `npm run docs` writes them, a test
 * fails when they are stale.
 */
import { writeFileSync } from 'node:fs'
import { costPage } from './docs/cost.ts'
import { errorsPage, limitsPage } from './docs/pages.ts'
import { metricsPage } from './docs/metrics.ts'
import { performancePage } from './docs/performance.ts'

export const PAGES: Readonly<Record<string, () => string>> = {
  'docs/cost.md': costPage,
  'docs/errors.md': errorsPage,
  'docs/limits.md': limitsPage,
  'docs/operations/metrics.md': metricsPage,
  'docs/performance.md': performancePage,
}

if (process.argv[1] === import.meta.filename)
  for (const [path, page] of Object.entries(PAGES)) writeFileSync(path, page())
