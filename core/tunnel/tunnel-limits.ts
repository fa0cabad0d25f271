/** The limits one tunnel obeys, taken from LIMITS; tests override single ones. */
import { LIMITS } from '../limits.ts'

export const TUNNEL_LIMITS = {
  frameMax: LIMITS.frameMax.value,
  openPayload: LIMITS.openPayload.value,
  resetPayload: LIMITS.resetPayload.value,
  windowMin: LIMITS.windowMin.value,
  windowInitial: LIMITS.windowInitial.value,
  windowMax: LIMITS.windowMax.value,
  windowConnection: LIMITS.windowConnection.value,
  streamsPerTunnel: LIMITS.streamsPerTunnel.value,
  halfOpenStreams: LIMITS.halfOpenStreams.value,
  openTimeout: LIMITS.openTimeout.value,
  pingIdle: LIMITS.pingIdle.value,
  deadAfter: LIMITS.deadAfter.value,
  suspectAfter: LIMITS.suspectAfter.value,
  writeTimeout: LIMITS.writeTimeout.value,
  pendingControl: LIMITS.pendingControl.value,
}

export type TunnelLimits = { readonly [K in keyof typeof TUNNEL_LIMITS]: number }

/** Without overrides the one object for all: ten thousand tunnels need no copies. */
export const limitsWith = (overrides?: Partial<TunnelLimits>): TunnelLimits =>
  overrides === undefined || overrides === TUNNEL_LIMITS
    ? TUNNEL_LIMITS
    : { ...TUNNEL_LIMITS, ...overrides }
