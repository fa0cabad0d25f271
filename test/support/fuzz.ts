/** How many inputs a fuzz test tries: 2,000 unless FUZZ_RUNS says otherwise (the long run takes 1,000,000). */
const asked = Number(process.env['FUZZ_RUNS'] ?? '')

export const fuzzRuns = Number.isSafeInteger(asked) && asked > 0 ? asked : 2_000

/** Time for the tests of one file, growing with the runs. */
export const fuzzTimeout = Math.max(60_000, fuzzRuns * 30)
