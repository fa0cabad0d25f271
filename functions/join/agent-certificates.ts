/** Signs one service's credentials: X.509 for every service, an OpenSSH host certificate for ssh. Both end together. */
import type { KeyObject } from 'node:crypto'
import type { Credentials } from '../../core/api/join.ts'
import { agentLabelsExtension } from '../../core/certs/agent-labels.ts'
import { agentUri, proxyUri } from '../../core/certs/identity.ts'
import { issueSshCertificate } from '../../core/certs/ssh-certificate.ts'
import { authorizedKey } from '../../core/certs/ssh-key.ts'
import { issueCertificate } from '../../core/certs/x509.ts'
import { toPem } from '../../core/certs/x509-read.ts'
import { plus, seconds } from '../../core/clock.ts'
import type { Agent, ServiceIdentity } from '../../core/domain/agent.ts'
import { proxyIdOf } from '../../core/ids.ts'
import { LIMITS } from '../../core/limits.ts'
import type { JoinDeps } from '../deps.ts'

type Deps = Pick<JoinDeps, 'cluster' | 'hostCa' | 'cas' | 'proxies' | 'random'>

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
/** Node names may have forms that DNS does not know (`a..b`); those are reached by their SPIFFE id alone. */
const isDns = (name: string): boolean =>
  name.length <= 253 && name.split('.').every((label) => LABEL.test(label))

export async function issueAgentCredentials(
  deps: Deps,
  agent: Agent,
  identity: ServiceIdentity,
  publicKey: KeyObject,
): Promise<Credentials> {
  const { cluster, cas, random } = deps
  const hostCa = deps.hostCa()
  const { id, nodeName } = agent
  const { service, expires } = identity
  const notBefore = plus(identity.issued, -LIMITS.certBackdate.value)
  const fullName = `${nodeName}.${cluster}`
  const labels = agentLabelsExtension({
    forced: agent.forcedLabels,
    suggested: agent.suggestedLabels,
  })
  const x509 = issueCertificate(
    {
      subject: nodeName,
      publicKey,
      issuer: hostCa,
      notBefore,
      notAfter: expires,
      uris: [
        service === 'proxy' ? proxyUri(cluster, proxyIdOf(id)) : agentUri(cluster, id, service),
      ],
      // A proxy answers under addresses of the cluster, which are no machine's to claim: its name is the URI alone.
      dns: service === 'proxy' ? [] : [nodeName, fullName].filter(isDns),
      usage: ['client', 'server'],
      ...(labels ? { extension: labels } : {}),
    },
    random,
  )
  const ssh =
    service === 'ssh'
      ? issueSshCertificate(
          {
            role: 'host',
            publicKey,
            keyId: `${id}/${service}`,
            principals: [nodeName, id, fullName],
            validAfter: notBefore,
            validBefore: expires,
          },
          hostCa.signer,
          random,
        )
      : undefined
  const { host, user, policy } = cas.now.bundle
  return {
    cluster,
    agent_id: id,
    service,
    generation: identity.generation,
    x509: toPem(await x509),
    ...(ssh ? { ssh_host: authorizedKey(await ssh) } : {}),
    expires: seconds(expires),
    forced_labels: agent.forcedLabels,
    host_ca: { x509: [...host.x509], ssh: [...host.ssh] },
    user_ca: { x509: [...user.x509], ssh: [...user.ssh] },
    policy_keys: policy.map((key) => ({ ...key })),
    proxies: [...deps.proxies()],
  }
}
