/**
 * Where recordings and the archived audit log lie: locked against deletion by anyone but a person with the right to bypass it, who
 * leaves a trace. The bucket outlives the stack.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib'
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  ObjectLockRetention,
  ObjectOwnership,
  StorageClass,
  type BucketProps,
  type IBucket,
} from 'aws-cdk-lib/aws-s3'
import type { Construct } from 'constructs'

const PRIVATE = {
  blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
  encryption: BucketEncryption.S3_MANAGED,
  enforceSSL: true,
  minimumTLSVersion: 1.2,
  objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
  removalPolicy: RemovalPolicy.RETAIN,
} as const satisfies BucketProps

/** Recordings are looked at in their first weeks if ever. */
const COOL_AFTER_DAYS = 60
/** Removed this long after their lock ended. */
const GRACE_DAYS = 30

export function recordsBucket(scope: Construct, id: string, keepDays: number): Bucket {
  const accessLogs = new Bucket(scope, `${id}AccessLog`, {
    ...PRIVATE,
    lifecycleRules: [{ expiration: Duration.days(keepDays) }],
  })
  return new Bucket(scope, id, {
    ...PRIVATE,
    versioned: true,
    objectLockEnabled: true,
    objectLockDefaultRetention: ObjectLockRetention.governance(Duration.days(keepDays)),
    serverAccessLogsBucket: accessLogs as IBucket,
    serverAccessLogsPrefix: 'records/',
    lifecycleRules: [
      {
        id: 'tidy',
        abortIncompleteMultipartUploadAfter: Duration.days(1),
        ...(keepDays > COOL_AFTER_DAYS && {
          transitions: [
            {
              storageClass: StorageClass.GLACIER_INSTANT_RETRIEVAL,
              transitionAfter: Duration.days(COOL_AFTER_DAYS),
            },
          ],
        }),
        expiration: Duration.days(keepDays + GRACE_DAYS),
        noncurrentVersionExpiration: Duration.days(keepDays),
      },
    ],
  })
}
