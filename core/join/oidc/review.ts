/**
 * TokenReview (authentication.k8s.io/v1): the Kubernetes cluster that the control plane runs in says whose service account token this
 * is. It knows more than keys do: a token ends with its pod.
 */
import * as z from 'zod'
import { reasonOf } from '../../errors.ts'
import { parseJson } from '../../strict-json.ts'
import { refuse } from './verify.ts'

export interface TokenReviewer {
  /**
   * The answer of the cluster, a TokenReview in JSON, for a token that has to be made out to `audience`. Throws ERR_UNREACHABLE, or
   * ERR_JOIN_REFUSED where there is no cluster or it does not let us ask.
   */
  review(token: string, audience: string): Promise<Buffer>
}

const answer = z.object({
  kind: z.literal('TokenReview'),
  status: z.object({
    authenticated: z.boolean().optional(),
    error: z.string().optional(),
    audiences: z.array(z.string()).optional(),
    user: z
      .object({ username: z.string(), extra: z.record(z.string(), z.array(z.string())).optional() })
      .optional(),
  }),
})

const POD = 'authentication.kubernetes.io/pod-name'

/** Whose it is, by the word of the cluster. Throws ERR_JOIN_REFUSED. */
export function readReview(bytes: Uint8Array, audience: string): { readonly subject: string } {
  let found
  try {
    found = answer.parse(parseJson(bytes)).status
  } catch (cause) {
    throw refuse(`token review: not as expected: ${reasonOf(cause).slice(0, 200)}`, cause)
  }
  const { authenticated, error, audiences, user } = found
  if (authenticated !== true)
    throw refuse(
      `token review: the cluster does not know it (${error?.slice(0, 200) ?? 'no reason'})`,
    )
  // A cluster that knows nothing of audiences says nothing of them, and would let in a token made out to anybody.
  if (!audiences?.includes(audience))
    throw refuse('token review: the cluster does not confirm the audience')
  if (!user) throw refuse('token review: the cluster names nobody')
  if (!user.extra?.[POD]?.[0]) throw refuse('token review: it belongs to no pod')
  return { subject: user.username }
}
