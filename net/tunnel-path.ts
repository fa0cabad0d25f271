/** Where a proxy takes tunnels. */
export const TUNNEL_PATH = '/v1/tunnel'
/** Query of a proxy that dials another one: a hint for whoever takes nobody else any more. The handshake proves who it is. */
export const PEER_QUERY = '?peer'
