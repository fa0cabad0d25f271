/** `-c postern:agents=N`: a pool of agents beside the proxies, to see a machine join. Pools of your own: constructs/agent-pool.ts. */
import { Stack, type StackProps } from 'aws-cdk-lib'
import type { Construct } from 'constructs'
import { acknowledge } from '../acknowledged.ts'
import { AgentPool } from '../constructs/agent-pool.ts'
import type { Artefacts } from '../artefacts.ts'
import type { DeployContext } from '../context.ts'
import type { ControlPlane } from './control-plane.ts'
import type { Network } from './network.ts'

export interface AgentsProps extends StackProps {
  readonly network: Network
  readonly plane: ControlPlane
  readonly artefacts: Artefacts
}

export class Agents extends Stack {
  constructor(scope: Construct, id: string, context: DeployContext, props: AgentsProps) {
    super(scope, id, props)
    new AgentPool(this, 'Pool', {
      plane: props.plane,
      artefacts: props.artefacts,
      vpc: props.network.vpc,
      name: 'first',
      labels: { env: 'test' },
      capacity: context.agents,
    })
    acknowledge(this, 'agents')
  }
}
