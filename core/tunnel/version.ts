/**
 * The wire version of the tunnel and its history. A change that an older peer would misread gets a new number, a new
 * subprotocol name and a dated line here and in SPEC.md.
 */

/** Name of the WebSocket subprotocol. */
export const SUBPROTOCOL = 'postern-tunnel.v1'

/** Versions this build speaks, best first. They travel in `hello`; the proxy chooses one in `challenge`. */
export const VERSIONS: readonly number[] = [1]

export const VERSION_HISTORY: readonly {
  readonly version: number
  readonly date: string
  readonly what: string
}[] = [
  {
    version: 1,
    date: '2026-11-23',
    what: 'First version: handshake inside the WebSocket, 12-byte frames, explicit credit, GOAWAY with a time.',
  },
]

/** The best version both sides speak, or undefined. */
export function chooseVersion(offered: readonly number[]): number | undefined {
  return VERSIONS.find((version) => offered.includes(version))
}
