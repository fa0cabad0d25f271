/** The stacks and how they know each other: network, control plane, proxies, agents. Their names are what docs/deploy.md says. */
import { Tags, type App } from 'aws-cdk-lib'
import type { Artefacts } from './artefacts.ts'
import type { DeployContext } from './context.ts'
import { Agents } from './stacks/agents.ts'
import { ControlPlane } from './stacks/control-plane.ts'
import { Proxies } from './stacks/proxies.ts'
import { Network } from './stacks/network.ts'

export interface PosternStacks {
  readonly network: Network
  readonly plane: ControlPlane
  readonly proxies: Proxies
  /** With `postern:agents` alone. */
  readonly agents: Agents | undefined
}

export function posternStacks(
  app: App,
  context: DeployContext,
  artefacts: Artefacts,
): PosternStacks {
  const env = {
    ...(context.region !== undefined && { region: context.region }),
    ...(context.account !== undefined && { account: context.account }),
  }
  const network = new Network(app, 'PosternNetwork', context, {
    env,
    description: 'Postern network: where the proxies live, and their load balancer',
  })
  const plane = new ControlPlane(app, 'Postern', context, {
    env,
    description: 'Postern control plane: functions, one table, signing keys',
    proxies: [network.address],
    artefacts,
  })
  const proxies = new Proxies(app, 'PosternProxies', context, {
    env,
    description: 'Postern proxies: where agents and users dial in',
    network,
    plane,
    artefacts,
  })
  const agents =
    context.agents === 0
      ? undefined
      : new Agents(app, 'PosternAgents', context, {
          env,
          description: 'Postern agents: machines that join by their role',
          network,
          plane,
          artefacts,
        })
  Tags.of(app).add('postern', context.cluster)
  return { network, plane, proxies, agents }
}
