/**
 * Prices that docs/cost.md reckons with, in USD for us-east-1. AWS's price list itself could not be asked: each was compared with what
 * SEEN names, on the day in `read`. AWS changes prices, and other regions cost 0 to 30 % more.
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

const OWN = "AWS's own page"
const OTHERS = "others' pages and sources that quote AWS"
/** What each price was compared with, and how old that is. */
export const SEEN: readonly (readonly [price: string, usd: string, seen: string])[] = [
  ['KMS key, month', '1', `${OWN} (aws.amazon.com/kms/pricing), a stored copy of 2026`],
  ['KMS ECC signature, 10,000', '0.15', OTHERS],
  ['DynamoDB on demand, million units written, read', '0.625, 0.125', `${OTHERS}, 2025 and later`],
  [
    'DynamoDB storage and point-in-time recovery, GB and month',
    '0.25 + 0.20',
    `storage: ${OWN}, an older copy; recovery: ${OTHERS}`,
  ],
  ['HTTP API, million requests', '1', OTHERS],
  [
    'Lambda arm64, million requests; GB-second',
    '0.20; 0.0000133334',
    `${OTHERS}, one read from the price list in September 2026`,
  ],
  ['CloudWatch Logs, GB', '0.50', OTHERS],
  [
    'Fargate arm64, vCPU hour, GB hour',
    '0.03238, 0.00356',
    `${OTHERS}, one read from the price list in September 2026`,
  ],
  ['Fargate Spot', '0.32 of it', 'not checked: it moves with supply; AWS says up to 70 % off'],
  ['Network load balancer, hour; unit and hour', '0.0225; 0.006', `${OTHERS}, May 2026`],
  ['Public IPv4 address, hour', '0.005', `${OTHERS}, 2026`],
  ['Route 53 zone, month', '0.50', `${OTHERS}, 2026`],
  ['Data out, GB beyond 100', '0.09', OTHERS],
]
