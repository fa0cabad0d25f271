/**
 * The protocol of CloudFormation's custom resources: the event names an address that an answer has to be put to, whatever happens, or
 * the deployment waits for an hour. https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
 */
import * as z from 'zod'
import { isAppError, reasonOf } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'

const base = {
  ResponseURL: z.url({ protocol: /^https$/ }).max(8192),
  StackId: z.string().max(2048),
  RequestId: z.string().max(1024),
  LogicalResourceId: z.string().max(1024),
  ResourceProperties: z.record(z.string(), z.unknown()),
}
const request = z.discriminatedUnion('RequestType', [
  z.object({ ...base, RequestType: z.literal('Create') }),
  z.object({ ...base, RequestType: z.literal('Update'), PhysicalResourceId: z.string().max(1024) }),
  z.object({ ...base, RequestType: z.literal('Delete'), PhysicalResourceId: z.string().max(1024) }),
])

/** What a deployment asks of a resource. */
export type Change =
  | { readonly type: 'create'; readonly properties: Readonly<Record<string, unknown>> }
  | {
      readonly type: 'update'
      readonly id: string
      readonly properties: Readonly<Record<string, unknown>>
    }
  | { readonly type: 'delete'; readonly id: string }

export interface Made {
  /** Another id than before tells CloudFormation to delete the old one. */
  readonly id: string
  /** What `Fn::GetAtt` reads. Never a secret: it is shown in the console. */
  readonly data?: Readonly<Record<string, string>>
}

export interface CustomResourceDeps {
  readonly log: Log
  /** Default: the global one. */
  readonly fetch?: typeof fetch
}

/** CloudFormation cuts reasons; it refuses an answer over 4096 bytes. */
const REASON_MAX = 1000
const FAILED_ID = 'postern-none'

/**
 * A handler for a function. `apply` is called for each change; deleting `postern-none`, which was never made, is not asked of it.
 * Rejects only when the answer could not be delivered, so that Lambda tries again.
 */
export function customResource(
  apply: (change: Change) => Promise<Made>,
  deps: CustomResourceDeps,
): (event: unknown) => Promise<void> {
  return async (event) => {
    const asked = request.parse(event)
    const { ResourceProperties: properties } = asked
    const known = asked.RequestType === 'Create' ? FAILED_ID : asked.PhysicalResourceId
    const change: Change =
      asked.RequestType === 'Create'
        ? { type: 'create', properties }
        : asked.RequestType === 'Update'
          ? { type: 'update', id: asked.PhysicalResourceId, properties }
          : { type: 'delete', id: asked.PhysicalResourceId }
    const answer = await (
      change.type === 'delete' && change.id === FAILED_ID
        ? Promise.resolve<Made>({ id: FAILED_ID })
        : apply(change)
    ).then(
      (made) => ({ Status: 'SUCCESS', PhysicalResourceId: made.id, Data: made.data ?? {} }),
      (e: unknown) => {
        deps.log.error('deploy.failed', { resource: asked.LogicalResourceId, reason: reasonOf(e) })
        // Only what is safe for whoever deploys: their console shows it.
        const reason = isAppError(e) ? `${e.code}: ${e.message}` : 'see the log of the function'
        return {
          Status: 'FAILED',
          PhysicalResourceId: known,
          Reason: reason.slice(0, REASON_MAX),
        }
      },
    )
    const body = JSON.stringify({
      ...answer,
      StackId: asked.StackId,
      RequestId: asked.RequestId,
      LogicalResourceId: asked.LogicalResourceId,
    })
    // The address is presigned for a request without a content type.
    const sent = await (deps.fetch ?? fetch)(asked.ResponseURL, {
      method: 'PUT',
      headers: { 'content-type': '' },
      body,
      signal: AbortSignal.timeout(10_000),
    })
    if (!sent.ok) throw new Error(`CloudFormation answered ${sent.status}`)
  }
}
