/** The worker's side of its link to the agent's main thread: questions that wait for an answer, and reports that do not. */
import type { MessagePort } from 'node:worker_threads'
import type { Grant } from '../../../../core/access/decide.ts'
import type { AgentEventType, EventField } from '../../../../core/domain/event.ts'
import type { Answer, Ask, Start, ToMain, ToWorker } from '../messages.ts'

export interface Link {
  /** Waits for the decision. What was asked stands in the audit log when it comes. */
  ask(ask: Ask): Promise<Answer>
  report(
    type: AgentEventType,
    outcome: 'ok' | 'refused' | 'failed',
    fields: Readonly<Record<string, EventField>>,
    reason?: string,
  ): void
  log(event: string, fields?: Record<string, unknown>): void
  helperStarted(pid: number): void
  end(exitCode: number | undefined): void
  onGrant(fn: (grant: Grant) => void): void
  onCut(fn: (line: string) => void): void
}

export function createLink(port: MessagePort, onStart: (start: Start, link: Link) => void): void {
  const waiting = new Map<number, (answer: Answer) => void>()
  let lastId = 0
  let grantChanged: (grant: Grant) => void = () => undefined
  let cut: (line: string) => void = () => undefined
  const tell = (message: ToMain): void => port.postMessage(message)
  const link: Link = {
    ask(ask) {
      const id = ++lastId
      return new Promise((resolve) => {
        waiting.set(id, resolve)
        tell({ kind: 'ask', id, ask })
      })
    },
    report: (type, outcome, fields, reason) =>
      tell({ kind: 'report', type, outcome, fields, ...(reason !== undefined && { reason }) }),
    log: (event, fields = {}) => tell({ kind: 'log', event, fields }),
    helperStarted: (pid) => tell({ kind: 'helper', pid }),
    end: (exitCode) => tell({ kind: 'end', exitCode }),
    onGrant: (fn) => void (grantChanged = fn),
    onCut: (fn) => void (cut = fn),
  }
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'start':
        return onStart(message.start, link)
      case 'answer':
        waiting.get(message.id)?.(message.answer)
        return void waiting.delete(message.id)
      case 'grant':
        return grantChanged(message.grant)
      case 'cut':
        return cut(message.line)
      case 'ping':
        return tell({ kind: 'pong' })
      case 'leave':
        // Of a thread, this ends the thread.
        return process.exit()
    }
  })
  tell({ kind: 'ready' })
}
