/** What a proxy tells anyone, so that one address is enough: where the cluster is, and the public halves of its CAs. */
import type { CaDocument, Discovery } from '../core/domain/cluster.ts'
import type { CaBundle } from '../core/domain/policy.ts'
import type { ProxyLease } from '../core/domain/presence.ts'

export interface PublicParts {
  /**
   * What `GET /.well-known/postern` answers, given the addresses of the proxies that live; without it that path is not served
   * by `handleRequest`.
   */
  readonly discovery?: ((proxies: readonly string[]) => Discovery) | undefined
  /** The CAs that this process was started with, for `GET /v1/ca`; without it that path is not served. */
  readonly cas?: (() => CaBundle) | undefined
}

export interface PublicDocuments {
  discovery(): Discovery | undefined
  cas(): CaDocument | undefined
}

export function publicDocuments(
  deps: PublicParts & {
    readonly cluster: string
    /** Of this proxy. */
    address(): string
    live(): readonly ProxyLease[]
    /** Of the policy in force. */
    policyCas(): CaBundle | undefined
    /** The same, signed. */
    signedCas(): { readonly jws: string; readonly links: readonly string[] } | undefined
  },
): PublicDocuments {
  function discovery(): Discovery | undefined {
    const known = [...new Set(deps.live().map((lease) => lease.address))]
    return deps.discovery?.(known.length > 0 ? known : [deps.address()])
  }
  return {
    discovery,
    cas() {
      const started = deps.cas?.()
      const said = discovery()
      if (!started || !said) return undefined
      const { host, user, policy } = deps.policyCas() ?? started
      const signed = deps.signedCas()
      return {
        cluster: deps.cluster,
        host: { x509: [...host.x509], ssh: [...host.ssh] },
        user: { x509: [...user.x509], ssh: [...user.ssh] },
        policy: [...policy],
        ca_pins: said.ca_pins,
        ...(signed ? { signed: signed.jws, policy_links: [...signed.links] } : {}),
      }
    },
  }
}
