/** What keeps the records: the buckets and their locks, and the schedules that fill them. */
import { AwsRefusal } from '../../aws/api.ts'
import { Problem } from '../examination.ts'
import { asked, DEPLOY_AGAIN, none, ofType, type Account } from './asking.ts'

const field = (xml: string, name: string): string =>
  new RegExp(`<${name}>([^<]{0,64})</${name}>`).exec(xml)?.[1] ?? ''
const SHUT = ['BlockPublicAcls', 'IgnorePublicAcls', 'BlockPublicPolicy', 'RestrictPublicBuckets']

/** Undefined where S3 says that there is no such configuration: that is a finding, not a failure to ask. */
async function configured(work: Promise<string>): Promise<string | undefined> {
  return asked(
    work.catch((e: unknown) => {
      if (e instanceof AwsRefusal && /NotFound|NoSuch(?!Bucket)/.test(e.code)) return undefined
      throw e
    }),
  )
}

export async function examineRecords(account: Account): Promise<void> {
  const { exam, aws, plane } = account
  const records = plane.outputs.get('RecordsBucket')
  for (const { id } of ofType(plane, 'AWS::S3::Bucket')) {
    await exam.check('bucket', id, async () => {
      const shut = await configured(
        aws.bucket(id, 'publicAccessBlock', 's3:GetBucketPublicAccessBlock'),
      )
      const open = SHUT.filter((name) => shut === undefined || field(shut, name) !== 'true')
      const sealed = await configured(aws.bucket(id, 'encryption', 's3:GetEncryptionConfiguration'))
      return none(
        [
          ...(open.length > 0 ? [`it may be opened to the world: ${open.join(', ')} is off`] : []),
          ...(sealed === undefined || field(sealed, 'SSEAlgorithm') === ''
            ? ['what is written to it is not encrypted']
            : []),
        ],
        'closed to the public, encrypted',
        DEPLOY_AGAIN,
      )
    })
    if (id !== records) continue
    await exam.check('bucket lock', id, async () => {
      const lock = await configured(
        aws.bucket(id, 'object-lock', 's3:GetBucketObjectLockConfiguration'),
      )
      const days = Number(lock === undefined ? 0 : field(lock, 'Days'))
      if (lock !== undefined && field(lock, 'ObjectLockEnabled') === 'Enabled' && days > 0)
        return `${field(lock, 'Mode').toLowerCase()}, ${days} days`
      throw new Problem(
        'what is written to it can be deleted: the copies of the audit log are not locked',
        `${DEPLOY_AGAIN}; find out in CloudTrail who took the lock away (PutObjectLockConfiguration)`,
      )
    })
  }
}

/** A schedule that somebody switched off is noticed by nobody: rotations stop, and the audit log is not copied any more. */
export async function examineSchedules(account: Account): Promise<void> {
  const { exam, aws, plane } = account
  for (const { logicalId, id } of ofType(plane, 'AWS::Scheduler::Schedule')) {
    const name = logicalId.replace(/[0-9A-F]{8}$/, '')
    await exam.check('schedule', name, async () => {
      const found = await asked(
        aws.get('scheduler', `/schedules/${encodeURIComponent(id)}`, 'scheduler:GetSchedule'),
      )
      const at = typeof found['ScheduleExpression'] === 'string' ? found['ScheduleExpression'] : ''
      if (found['State'] === 'ENABLED') return at
      throw new Problem('it is switched off', DEPLOY_AGAIN)
    })
  }
}
