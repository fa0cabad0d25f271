/** Dialling another proxy: the handshake of every tunnel, with both ends being proxies of the cluster. */
import { toPem, type Certificate } from '../core/certs/x509-read.ts'
import type { OwnIdentity } from '../core/tunnel/handshake.ts'
import { connectTunnel, type TunnelClientOptions } from '../net/tunnel-client.ts'
import type { NeighboursDeps } from './neighbours.ts'

export interface PeerDialDeps extends Pick<
  TunnelClientOptions,
  'cluster' | 'clock' | 'random' | 'budget' | 'limits'
> {
  identity(): OwnIdentity
  hostCas(): readonly Certificate[]
}

export const peerDial =
  (deps: PeerDialDeps): NeighboursDeps['dial'] =>
  (address, handlers) => {
    const hostCas = deps.hostCas()
    return connectTunnel({
      ...deps,
      url: `wss://${address}`,
      // Inside the cluster nobody else vouches for anybody.
      trust: { system: false, ca: hostCas.map((ca) => toPem(ca.raw)) },
      hostCas,
      identity: deps.identity(),
      purpose: 'peer',
      ...handlers,
    })
  }
