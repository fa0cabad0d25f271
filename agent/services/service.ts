/**
 * What a service of the agent is. The agent verifies who asks (the user's signed offer in OPEN), decides, and hands over an
 * authorised stream; the service finishes it. A service knows nothing of tunnels, and the tunnel nothing of services.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Instant } from '../../core/clock.ts'
import type { Decision, Want } from '../../core/access/decide.ts'
import type { AgentEvent } from '../../core/domain/event.ts'
import type { ResourceKind, ServiceKind } from '../../core/domain/service.ts'
import type { Traits } from '../../core/domain/user.ts'
import type { AgentId, SessionId } from '../../core/ids.ts'
import type { Log } from '../../core/log.ts'
import type { Random } from '../../core/random.ts'

export type { Log } from '../../core/log.ts'

/** A user as verified from a certificate of the user CA. */
export interface UserIdentity {
  readonly kind: 'user'
  readonly cluster: string
  readonly user: string
  readonly roles: readonly string[]
  readonly logins: readonly string[]
  readonly traits: Traits
  readonly expires: Instant
}

/** An authorised stream: the offer's signature, its route and the first decision all held. */
export interface ServiceStream {
  /** Half-close is preserved both ways; destroying it resets the stream. */
  readonly duplex: Duplex
  readonly sessionId: SessionId
  /** The offer's id of the stream, which the proxy's log has too. The user chose it: it names, it proves nothing. */
  readonly streamId: string
  readonly resource: { readonly kind: ResourceKind; readonly name: string }
  readonly identity: UserIdentity
  /** Where the proxy says the user dialled from. Not proven; for the audit log only. */
  readonly claimedSource: string | undefined
}

/** The agent's live view of the policy. */
export interface PolicyView {
  /** decide() on what is known now. */
  decide(identity: UserIdentity, want: Want): Decision
  /** Calls `fn` whenever roles, users or locks changed, so that live sessions can be decided again. Returns the unsubscribe. */
  onChange(fn: () => void): () => void
  /** Bare CA keys and CA certificates in force. */
  userCas(): { readonly sshBlobs: readonly Buffer[]; readonly x509Pems: readonly string[] }
}

/** One service's credential, always the newest. */
export interface ServiceCredential {
  readonly agentId: AgentId
  readonly cluster: string
  readonly nodeName: string
  /** PKCS#8 PEM of the service's private key. */
  readonly keyPem: string
  readonly x509Pem: string
  /** `type base64`; only for ssh. */
  readonly sshHostCert: string | undefined
}

export interface ServiceContext {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly policy: PolicyView
  /** The newest credential: renewal swaps it without a restart. */
  credential(): ServiceCredential
  /** Labels of this node, dynamic ones included, as they are now. */
  nodeLabels(): Readonly<Record<string, string>>
  /** Queues an audit event; it is on disk before this returns and is sent until the control plane has it. */
  audit(event: Omit<AgentEvent, 'key' | 'time'>): void
}

export interface AgentService {
  readonly kind: ServiceKind
  /** What decide() is asked before the stream is accepted; undefined when the resource is not served here. */
  want(resource: { kind: ResourceKind; name: string }): Want | undefined
  /** Runs until the stream has ended. Aborting `signal` ends it at once. Never rejects for what a peer did. */
  serve(stream: ServiceStream, signal: AbortSignal): Promise<void>
  /** Ends every session and frees what the service holds. */
  close(): Promise<void>
}
