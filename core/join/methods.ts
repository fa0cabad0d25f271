/** The join methods, in one list. Adding one is a file here, its other half in agent/join, a page in docs/join, and a line. */
import { JOIN_METHODS } from '../domain/join-method.ts'
import type { JoinToken } from '../domain/token.ts'
import { AppError, badField } from '../errors.ts'
import { parse } from '../parse.ts'
import type { Random } from '../random.ts'
import { azureMethod, type AzureDeps } from './azure/method.ts'
import { boundKeypairMethod, type BoundKeypairDeps } from './bound-keypair.ts'
import { ec2Method, type Ec2Deps } from './ec2.ts'
import { iamMethod, type StsClient } from './iam.ts'
import type { JoinContext, JoinFacts, JoinMethod, Opening } from './join-method.ts'
import { oidcMethod, type OidcDeps } from './oidc/method.ts'
import { PRESETS } from './oidc/presets.ts'
import { tokenMethod } from './token.ts'
import { tpmMethod } from './tpm/method.ts'

/** A method whose evidence is not parsed yet. */
export interface EvidenceVerifier {
  readonly name: string
  readonly tokenBy: 'name' | 'secret'
  /** What the challenge asks besides (Opening). Throws ERR_INPUT_INVALID. */
  open(untrustedParams: unknown): Opening | undefined
  verify(untrustedEvidence: unknown, context: JoinContext): Promise<JoinFacts>
  /** Why the token's own rules do not admit these facts; undefined when they do. */
  refusal(token: JoinToken, facts: JoinFacts): string | undefined
}

function verifier<E>(method: JoinMethod<E>): EvidenceVerifier {
  return {
    name: method.name,
    tokenBy: method.tokenBy,
    refusal: (token, facts) => method.refusal?.(token, facts),
    open(untrustedParams) {
      if (method.open) return method.open(untrustedParams)
      if (untrustedParams === undefined) return undefined
      throw badField('params', `join method ${method.name} takes none`)
    },
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

/** What methods need besides the evidence. */
export interface MethodDeps extends BoundKeypairDeps, Ec2Deps, AzureDeps, OidcDeps {
  readonly sts: StsClient
  readonly random: Random
}

/** Answers the method of a name. Throws ERR_JOIN_METHOD_UNSUPPORTED. */
export function joinMethods(deps: MethodDeps): (name: string) => EvidenceVerifier {
  const methods: readonly EvidenceVerifier[] = [
    verifier(tokenMethod),
    verifier(iamMethod(deps)),
    verifier(ec2Method(deps)),
    verifier(boundKeypairMethod(deps)),
    verifier(azureMethod(deps)),
    verifier(tpmMethod(deps)),
    ...PRESETS.map((preset) => verifier(oidcMethod(preset, deps))),
  ]
  return (name) => {
    const method = methods.find((one) => one.name === name)
    if (method) return method
    throw new AppError(
      'ERR_JOIN_METHOD_UNSUPPORTED',
      `method: use one of ${JOIN_METHODS.join(', ')}`,
    )
  }
}
