/**
 * Bundled in place of `@smithy/core/event-streams` (infra/constructs/bundling.ts): no call of DynamoDB or KMS streams. 15 KB less
 * to load. The one that asked for it would fail with this.
 */
export class EventStreamSerde {
  constructor() {
    throw new Error('event streams are not in this bundle')
  }
}
export const eventStreamSerdeProvider = undefined
