/** The operational log of a function: one JSON object a line, as CloudWatch Logs Insights reads it. */
import type { Log } from '../core/log.ts'

const line = (level: string) => (event: string, fields?: Record<string, unknown>) =>
  void process.stdout.write(`${JSON.stringify({ level, event, ...fields })}\n`)

export const lambdaLog: Log = { info: line('info'), warn: line('warn'), error: line('error') }
