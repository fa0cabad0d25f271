/**
 * Keys that a rotation makes later (functions/signers/kms-keyring.ts): their ARNs are not known here, so the tags they are made with say
 * who may use them. The keys of the deployment itself carry no such tags: by these statements nobody reaches them.
 */
import { PolicyStatement, type Role } from 'aws-cdk-lib/aws-iam'

type CaKind = 'host' | 'user' | 'policy' | 'db_client' | 'jwt'
/** What `rotate` certifies with itself. */
const KINDS: readonly CaKind[] = ['host', 'user', 'policy', 'db_client']

/** The role's own account and region are all that a key policy lets it reach; the tags say which of their keys. */
const ANY_KEY = 'arn:aws:kms:*:*:key/*'
const tagged = (cluster: string, kinds: readonly CaKind[]) => ({
  StringEquals: {
    'aws:ResourceTag/postern-cluster': cluster,
    'aws:ResourceTag/postern-ca': kinds.length === 1 ? kinds[0] : kinds,
  },
})

/** A verb that signs for one CA signs with the successors of its key too. */
export function grantRotatedKeys(role: Role, cluster: string, kind: CaKind): void {
  role.addToPolicy(
    new PolicyStatement({
      actions: ['kms:Sign', 'kms:GetPublicKey'],
      resources: [ANY_KEY],
      conditions: tagged(cluster, [kind]),
    }),
  )
}

/** Makes the next key, certifies it with itself, retires the one before. It never reaches the keys of the deployment. */
export function grantRotation(role: Role, cluster: string): void {
  role.addToPolicy(
    new PolicyStatement({
      actions: ['kms:CreateKey', 'kms:TagResource'],
      resources: ['*'],
      conditions: {
        StringEquals: {
          'aws:RequestTag/postern-cluster': cluster,
          'aws:RequestTag/postern-ca': [...KINDS, 'jwt'],
        },
        'ForAllValues:StringEquals': { 'aws:TagKeys': ['postern-cluster', 'postern-ca'] },
      },
    }),
  )
  role.addToPolicy(
    new PolicyStatement({
      actions: ['kms:Sign', 'kms:GetPublicKey', 'kms:DisableKey', 'kms:ScheduleKeyDeletion'],
      resources: [ANY_KEY],
      conditions: tagged(cluster, KINDS),
    }),
  )
  // The key of JWTs is made here and used elsewhere: rotate reads its public half, and gives up one too many.
  role.addToPolicy(
    new PolicyStatement({
      actions: ['kms:GetPublicKey', 'kms:DisableKey', 'kms:ScheduleKeyDeletion'],
      resources: [ANY_KEY],
      conditions: tagged(cluster, ['jwt']),
    }),
  )
}
