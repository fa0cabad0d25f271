/** The TLS certificate of the local listener: made at start, made again when names or the CA change or half of its life has passed. */
import { plus, type Clock, type Instant } from '../../core/clock.ts'
import { generateKey } from '../../core/certs/signer.ts'
import type { LocalControlPlane } from '../../functions/wiring.ts'
import type { TlsMaterial } from './listener.ts'
import { sameNames, type Names } from './names.ts'

export interface ServerTls {
  readonly material: TlsMaterial
  /** The next material when it is time for one. */
  renew(names: Names): Promise<TlsMaterial | undefined>
}

interface Issued {
  readonly material: TlsMaterial
  readonly names: Names
  readonly renewAt: Instant
  /** PEM of the CA that signed it. */
  readonly ca: string
}

export async function serverTls(
  plane: Pick<LocalControlPlane, 'issueServerCertificate' | 'caBundle'>,
  clock: Clock,
  first: Names,
): Promise<ServerTls> {
  async function issue(names: Names): Promise<Issued> {
    const key = generateKey()
    const now = clock.now()
    const { pem, caPem, expires } = await plane.issueServerCertificate({
      key: key.publicKey,
      dns: names.dns,
      ips: names.ips,
    })
    return {
      material: {
        key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
        chain: `${pem}${caPem}`,
      },
      names,
      ca: caPem,
      renewAt: plus(now, (expires - now) / 2),
    }
  }
  let issued = await issue(first)
  return {
    get material() {
      return issued.material
    },
    async renew(names) {
      const same = sameNames(names, issued.names) && plane.caBundle.host.x509[0] === issued.ca
      if (same && clock.now() < issued.renewAt) return undefined
      issued = await issue(names)
      return issued.material
    },
  }
}
