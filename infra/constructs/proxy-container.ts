/** The container of a proxy: the public image of Node, the loader as its program, nothing writable but its own folder. */
import { Duration, RemovalPolicy, type Stack } from 'aws-cdk-lib'
import {
  AwsLogDriver,
  Capability,
  ContainerImage,
  LinuxParameters,
  type FargateTaskDefinition,
} from 'aws-cdk-lib/aws-ecs'
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs'
import type { TaskSettings } from '../proxy-task/task.ts'
import { proxyProgram } from './proxy-program.ts'

/** Node's own image in Amazon's public registry: no account, no build. The version is that of the agents' runtime. */
const IMAGE = 'public.ecr.aws/docker/library/node:24.21.0-bookworm-slim'
export const DIAG_PORT = 3081
/** Fargate ends a task 120 s after SIGTERM at the latest, also when it takes back a Spot task. */
const STOP = Duration.seconds(120)
export const DRAIN_SECONDS = 100
/** What Docker gives a container, but for NET_BIND_SERVICE. */
const POWERS = [
  Capability.AUDIT_WRITE,
  Capability.CHOWN,
  Capability.DAC_OVERRIDE,
  Capability.FOWNER,
  Capability.FSETID,
  Capability.KILL,
  Capability.MKNOD,
  Capability.NET_RAW,
  Capability.SETFCAP,
  Capability.SETGID,
  Capability.SETPCAP,
  Capability.SETUID,
  Capability.SYS_CHROOT,
]

/** Root of nothing but, where clients dial it themselves, of its port. */
function powerless(stack: Stack, port: number): LinuxParameters {
  const linux = new LinuxParameters(stack, 'Linux', { initProcessEnabled: true })
  linux.dropCapabilities(...(port < 1024 ? POWERS : [Capability.ALL]))
  return linux
}

export function proxyContainer(
  stack: Stack,
  task: FargateTaskDefinition,
  settings: TaskSettings,
): void {
  const logGroup = new LogGroup(stack, 'Log', {
    retention: RetentionDays.ONE_MONTH,
    removalPolicy: RemovalPolicy.DESTROY,
  })
  const healthy = `fetch('http://127.0.0.1:${DIAG_PORT}/healthz').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))`
  const container = task.addContainer('proxy', {
    image: ContainerImage.fromRegistry(IMAGE),
    entryPoint: ['node', '--input-type=module', '-e'],
    command: [proxyProgram()],
    environment: { POSTERN_TASK: stack.toJsonString(settings), NODE_ENV: 'production' },
    portMappings: [{ containerPort: settings.port }],
    logging: new AwsLogDriver({ streamPrefix: 'proxy', logGroup }),
    readonlyRootFilesystem: true,
    stopTimeout: STOP,
    linuxParameters: powerless(stack, settings.port),
    healthCheck: {
      command: ['CMD', 'node', '-e', healthy],
      interval: Duration.seconds(30),
      timeout: Duration.seconds(5),
      retries: 3,
      startPeriod: Duration.seconds(60),
    },
  })
  container.addMountPoints({ sourceVolume: 'work', containerPath: '/work', readOnly: false })
}
