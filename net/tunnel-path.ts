/** Where a proxy takes tunnels. */
export const TUNNEL_PATH = '/v1/tunnel'
