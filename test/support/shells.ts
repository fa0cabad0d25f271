/** Interactive shells that must outlive what happens to the connections under them. */
import type { ChildProcess } from 'node:child_process'
import { expect } from 'vitest'

export interface KeepingShell {
  /** Types the last line, and holds that nothing was forgotten. */
  ends(): Promise<void>
}

/** `child` is `ssh -tt`. Resolves once the shell there has kept the number `n`. */
export async function keepingShell(child: ChildProcess, n: number): Promise<KeepingShell> {
  let said = ''
  const ready = new Promise<void>((resolve) =>
    child.stdout?.on('data', (text: Buffer) => {
      said += text.toString()
      if (said.includes(`here=${n}1`)) resolve()
    }),
  )
  child.stdin?.write(`N=${n}; echo "here=$((N))1"\n`)
  await ready
  return {
    async ends() {
      const closed = new Promise((resolve) => child.on('close', resolve))
      child.stdin?.write('echo "after=$((N + 40))"; exit 9\n')
      expect(await closed).toBe(9)
      expect(said).toContain(`after=${n + 40}`)
    },
  }
}
