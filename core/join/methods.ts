/** The join methods, in one list. Adding one is a file here, its other half in agent/join, a page in docs/join, and a line. */
import { AppError } from '../errors.ts'
import { parse } from '../parse.ts'
import type { JoinContext, JoinFacts, JoinMethod } from './join-method.ts'
import { tokenMethod } from './token.ts'

/** A method whose evidence is not parsed yet. */
export interface EvidenceVerifier {
  readonly name: string
  verify(untrustedEvidence: unknown, context: JoinContext): Promise<JoinFacts>
}

function verifier<E>(method: JoinMethod<E>): EvidenceVerifier {
  return {
    name: method.name,
    async verify(untrustedEvidence, context) {
      let evidence: E
      try {
        evidence = parse(method.evidence, untrustedEvidence)
      } catch (cause) {
        // What was wrong with the evidence helps whoever forges it: only the audit log is told.
        const reason = cause instanceof AppError ? cause.message : String(cause)
        throw new AppError('ERR_JOIN_REFUSED', undefined, {
          internal: `evidence: ${reason}`,
          cause,
        })
      }
      return method.verify(evidence, context)
    },
  }
}

const METHODS: readonly EvidenceVerifier[] = [verifier(tokenMethod)]

export const JOIN_METHOD_NAMES: readonly string[] = METHODS.map((method) => method.name)

/** Throws ERR_JOIN_METHOD_UNSUPPORTED. */
export function joinMethod(name: string): EvidenceVerifier {
  const method = METHODS.find((one) => one.name === name)
  if (method) return method
  throw new AppError(
    'ERR_JOIN_METHOD_UNSUPPORTED',
    `method: use one of ${JOIN_METHOD_NAMES.join(', ')}`,
  )
}
