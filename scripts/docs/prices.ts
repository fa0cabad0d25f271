/**
 * Prices that docs/cost.md reckons with, in USD. Fargate, DynamoDB and KMS were seen quoted on other people's pages; Lambda, HTTP API, logs,
 * load balancer, addresses and egress were written from memory. None is yet held against AWS's own price list
 * (https://aws.amazon.com/<service>/pricing/); AWS changes them, and other regions cost 0 to 30 % more.
 */
export const PRICES = {
  read: '2026-11-26',
  region: 'us-east-1',
  hoursPerMonth: 730,
  /** KMS: a customer managed key of any kind, per month; an ECC signature. */
  kmsKey: 1,
  kmsSign: 0.15 / 10_000,
  /** DynamoDB on demand, per request unit (since November 2024). */
  dynamoWrite: 0.625 / 1e6,
  dynamoRead: 0.125 / 1e6,
  /** DynamoDB storage and point-in-time recovery, per GB and month. The free 25 GB are not counted. */
  dynamoGb: 0.25 + 0.2,
  /** HTTP API, per request of up to 512 KB. */
  httpApi: 1 / 1e6,
  /** Lambda on arm64: per request, per GB-second. The free tier is not counted. */
  lambdaRequest: 0.2 / 1e6,
  lambdaGbSecond: 0.0000133334,
  /** CloudWatch Logs, ingested GB. */
  logsGb: 0.5,
  /** Fargate on arm64 Linux, per vCPU and per GB hour; Spot is about 68 % less. */
  fargateVcpu: 0.03238,
  fargateGb: 0.00356,
  fargateSpot: 0.32,
  /** Network load balancer, per hour, and per capacity unit and hour. */
  nlbHour: 0.0225,
  nlbUnit: 0.006,
  /** A public IPv4 address, per hour. */
  ipv4: 0.005,
  /** A Route 53 zone, per month. */
  zone: 0.5,
  /** Data to the internet, per GB, beyond the first 100 GB of a month. */
  egressGb: 0.09,
  egressFreeGb: 100,
} as const
