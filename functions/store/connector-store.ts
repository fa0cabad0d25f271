/** Connectors: issuers whose id tokens may call the API. */
import type { OidcConnector } from '../../core/domain/oidc-connector.ts'

export interface ConnectorStore {
  /** Strongly consistent. */
  get(name: string): Promise<OidcConnector | undefined>
  /** All that trust this issuer. Strongly consistent: what was removed admits nobody any more. */
  ofIssuer(issuer: string): Promise<OidcConnector[]>
  /** All of them, sorted by name. Eventually consistent. */
  list(): Promise<OidcConnector[]>
  /** Creates or replaces; `created` stays as it was. Nothing is written when it is there as it is. */
  put(connector: OidcConnector): Promise<'created' | 'replaced' | 'unchanged'>
  /** False when there was none. */
  remove(name: string): Promise<boolean>
}
