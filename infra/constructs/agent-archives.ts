/**
 * The agent's archives, uploaded with the deployment. The api function may read these two objects and nothing else of the bucket: it
 * signs URLs for them, which is how machines without AWS credentials download them.
 */
import type { Stack } from 'aws-cdk-lib'
import { PolicyStatement } from 'aws-cdk-lib/aws-iam'
import { Asset } from 'aws-cdk-lib/aws-s3-assets'
import type { Arch, Artefacts } from '../artefacts.ts'
import type { VerbFunction } from './verb-function.ts'

const ARCHES: readonly Arch[] = ['x64', 'arm64']

export function offerAgents(stack: Stack, api: VerbFunction, artefacts: Artefacts): void {
  const archives = ARCHES.map((arch) => {
    const { path, sha256 } = artefacts.agent[arch]
    const asset = new Asset(stack, `Agent-${arch}`, { path })
    api.role.addToPolicy(
      new PolicyStatement({
        actions: ['s3:GetObject'],
        resources: [asset.bucket.arnForObjects(asset.s3ObjectKey)],
      }),
    )
    return [arch, { bucket: asset.s3BucketName, key: asset.s3ObjectKey, sha256 }] as const
  })
  api.fn.addEnvironment('POSTERN_DOWNLOADS', stack.toJsonString(Object.fromEntries(archives)))
}
