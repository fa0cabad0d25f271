/**
 * Every limit of the system in one place: checked before anything is parsed or allocated. docs/limits.md is generated from
 * this file, so each entry says its unit, why it is there and what happens above it.
 */
const KiB = 1024
const MiB = 1024 * KiB
const second = 1000
const minute = 60 * second
const hour = 60 * minute

export interface Limit {
  readonly value: number
  readonly unit: 'bytes' | 'ms' | 'count' | 'per second' | 'per minute'
  /** What it protects and what happens when it is exceeded. */
  readonly why: string
}
const limit = <const V extends number>(value: V, unit: Limit['unit'], why: string) => ({
  value,
  unit,
  why,
})

export const LIMITS = {
  // HTTP API
  httpBody: limit(256 * KiB, 'bytes', 'Body of an API request; larger is 413 before it is parsed.'),
  httpResponsePage: limit(
    4 * MiB,
    'bytes',
    'One page of a list; the page is cut and a cursor given.',
  ),
  jsonDepth: limit(16, 'count', 'Nesting of a JSON body; deeper is refused before it is parsed.'),
  httpResponse: limit(
    8 * MiB,
    'bytes',
    'Largest answer that a client of the API reads; a larger one ends the call.',
  ),
  httpHeaders: limit(
    16 * KiB,
    'bytes',
    'All request headers together; larger is refused by the HTTP server.',
  ),
  httpTimeout: limit(15 * second, 'ms', 'A request must be complete and answered by then.'),
  pageSize: limit(500, 'count', 'Items in one page of a list; `limit` above it is refused.'),
  pageSizeDefault: limit(100, 'count', 'Items in one page when `limit` is not given.'),
  listShards: limit(8, 'count', 'Shards of every list index, so that no partition is hot.'),
  queryValue: limit(2048, 'count', 'Characters of one query parameter; longer is refused.'),
  rateKeys: limit(
    10_000,
    'count',
    'Addresses and names whose call rate is remembered; the one unused for longest is forgotten.',
  ),
  storeRequest: limit(
    17 * MiB,
    'bytes',
    'One request to `postern serve store`; larger is refused before it is parsed. DynamoDB takes 16 MiB.',
  ),
  idempotencyKey: limit(128, 'bytes', 'Length of Idempotency-Key; longer is refused.'),
  idempotencyTtl: limit(24 * hour, 'ms', 'How long an Idempotency-Key is remembered.'),
  rateAnonymousPerMinute: limit(
    600,
    'per minute',
    'Unauthenticated calls from one address (join, login); above it 429 with retry-after.',
  ),
  rateLoginPerMinute: limit(20, 'per minute', 'Sign-in attempts for one user name; above it 429.'),

  apiKeyTtlDefault: limit(90 * 24 * hour, 'ms', 'Life of an API key when none is asked for.'),
  apiKeyTtlMax: limit(366 * 24 * hour, 'ms', 'Longest life of an API key.'),
  connectorRules: limit(100, 'count', 'Rules of one OIDC connector.'),
  connectorTokenLife: limit(
    24 * hour,
    'ms',
    'Longest life of an id token that calls the API, from its iat to its exp; a longer one is refused.',
  ),
  rateCallerPerMinute: limit(
    3000,
    'per minute',
    'Calls of one signed-in caller: an API key, a user, an agent, a subject of an issuer; above it 429 with retry-after.',
  ),
  rateTokenPerMinute: limit(
    30_000,
    'per minute',
    'Joins that name one join token, right or wrong; above it 429 with retry-after.',
  ),
  spiffeRefresh: limit(
    5 * minute,
    'ms',
    'How often readers of the SPIFFE trust bundle are told to read it again.',
  ),
  apiKeyScopes: limit(32, 'count', 'Scopes of one API key.'),
  metricSeries: limit(
    1000,
    'count',
    'Label combinations of one metric; new ones above it are not counted.',
  ),

  // Names and resources
  nameLength: limit(63, 'count', 'Characters of a node, app, db or cluster name.'),
  labels: limit(64, 'count', 'Labels of one resource.'),
  labelKey: limit(128, 'count', 'Characters of a label key.'),
  labelValue: limit(256, 'count', 'Characters of a label value.'),
  resourceDocument: limit(
    128 * KiB,
    'bytes',
    'One resource file, YAML or JSON, before it is parsed.',
  ),
  resourcesPerAgent: limit(500, 'count', 'Apps, databases and clusters one agent may announce.'),
  configFile: limit(256 * KiB, 'bytes', 'postern.yaml, before it is parsed.'),
  yamlAliases: limit(20, 'count', 'Aliases in one YAML document, against expansion bombs.'),
  yamlNesting: limit(
    64,
    'count',
    'Levels of brackets, or of `- ` and `? ` on one line, in a YAML file; deeper ones are refused unparsed.',
  ),

  // Tokens, joining, certificates
  tokenTtlDefault: limit(30 * minute, 'ms', 'Life of a join token when none is asked for.'),
  tokenTtlMax: limit(366 * 24 * hour, 'ms', 'Longest life of a join token.'),
  tokenUsesMax: limit(100_000, 'count', 'Largest max_uses of a token; null is any number.'),
  tokenBytes: limit(32, 'bytes', 'Random bytes of a token secret.'),
  joinEvidence: limit(32 * KiB, 'bytes', 'Evidence of one join, before it is parsed.'),
  tokenLabels: limit(
    2 * KiB,
    'bytes',
    'Forced and suggested labels of a token, as JSON; they become part of certificates.',
  ),
  iidTtlDefault: limit(
    5 * minute,
    'ms',
    'Age of an EC2 instance, since it was started, up to which its identity document admits; aws_iid_ttl sets another.',
  ),
  stsTimeout: limit(5 * second, 'ms', 'AWS STS must have answered by then, for method iam.'),
  stsAnswer: limit(64 * KiB, 'bytes', 'Answer of AWS STS; a longer one refuses the join.'),
  metadataTimeout: limit(
    2 * second,
    'ms',
    'One question of an agent to a metadata service of its machine.',
  ),
  metadataAnswer: limit(
    64 * KiB,
    'bytes',
    'Answer of a metadata service; a longer one is not read.',
  ),
  tpmResponse: limit(4 * KiB, 'bytes', 'Response of a TPM to one command; it has no longer ones.'),
  tpmTimeout: limit(
    30 * second,
    'ms',
    'One command of a TPM; making an RSA key takes some of them many seconds.',
  ),
  idToken: limit(
    16 * KiB,
    'bytes',
    'An id token of a CI system or cloud, before it is taken apart.',
  ),
  idTokenSkew: limit(
    30 * second,
    'ms',
    'How far clocks of issuers of id tokens may differ from ours.',
  ),
  kubernetesTokenTtl: limit(
    30 * minute,
    'ms',
    'Longest life of a service account token that joins; a longer one is refused.',
  ),
  tokenReviewTimeout: limit(
    5 * second,
    'ms',
    'The Kubernetes cluster around the control plane must have answered by then, for in_cluster.',
  ),
  tokenReviewAnswer: limit(
    64 * KiB,
    'bytes',
    'Answer of that cluster; a longer one refuses the join.',
  ),
  jwksSize: limit(
    256 * KiB,
    'bytes',
    'Discovery document or key set of an issuer; larger is refused.',
  ),
  jwksKeys: limit(64, 'count', 'Keys in the key set of an issuer; a longer one is refused.'),
  jwksTimeout: limit(2 * second, 'ms', 'One request to an issuer must be answered by then.'),
  jwksTtl: limit(
    10 * minute,
    'ms',
    'How long keys of an issuer are used before they are read again.',
  ),
  jwksCooldown: limit(
    30 * second,
    'ms',
    'Between two reads of one issuer that unknown key ids or failures may cause.',
  ),
  jwksStale: limit(24 * hour, 'ms', 'How long keys are used while their issuer cannot be reached.'),
  jwksIssuers: limit(
    256,
    'count',
    'Issuers whose keys are remembered; the one unused for longest is forgotten.',
  ),
  expressionLength: limit(
    4096,
    'count',
    'Characters of an expression of a token; a longer one is refused when the token is made.',
  ),
  expressionNodes: limit(
    256,
    'count',
    'Names, texts and operators of an expression; more are refused.',
  ),
  regexpStates: limit(
    1000,
    'count',
    'States of a regular expression, about one for each character and as many again for each repetition; a larger one is refused.',
  ),
  expressionDepth: limit(24, 'count', 'Nesting of an expression; deeper is refused.'),
  expressionSet: limit(
    1024,
    'count',
    'Texts in a set while an expression is decided; more refuse the join.',
  ),
  challengeTtl: limit(60 * second, 'ms', 'A join challenge is good for this long.'),
  joinKeyTtl: limit(
    36 * hour,
    'ms',
    'The host CA’s word for the key of sealed joins holds this long; a function signs it anew after a third.',
  ),
  tokenAwait: limit(
    10 * minute,
    'ms',
    'How long a first join waits for the file with its token; then the service fails.',
  ),
  tokenLook: limit(5 * second, 'ms', 'Longest pause between two looks for that file.'),
  agentCertTtl: limit(24 * hour, 'ms', 'Life of an agent certificate; renewed at half of it.'),
  userCertTtl: limit(12 * hour, 'ms', 'Longest life of a user certificate.'),
  userCertTtlMin: limit(1 * minute, 'ms', 'Shortest life of a user certificate.'),
  certBackdate: limit(1 * minute, 'ms', 'How far notBefore lies in the past, for clocks that lag.'),
  caCertTtl: limit(
    20 * 366 * 24 * hour,
    'ms',
    'Life of a CA certificate; pins are on keys, and rotation replaces them long before.',
  ),
  caRefresh: limit(
    10 * second,
    'ms',
    'How long a function believes what it knows of the CAs before it reads their rows again.',
  ),
  caPhaseMin: limit(
    30 * second,
    'ms',
    'Shortest phase of a CA rotation, so that every function and proxy has seen it; `force` overrides it.',
  ),
  caGraceDefault: limit(36 * hour, 'ms', 'Length of an automatic CA rotation.'),
  caGraceMin: limit(
    10 * minute,
    'ms',
    'Shortest automatic CA rotation; 0 instead of a length cuts over at once.',
  ),
  caGraceMax: limit(30 * 24 * hour, 'ms', 'Longest automatic CA rotation.'),
  caRenewSpread: limit(
    10 * minute,
    'ms',
    'Agents renew within this time when a rotation by hand changes the key that signs.',
  ),
  caTick: limit(60 * second, 'ms', 'How often automatic CA rotations are looked at.'),
  caRetiredPins: limit(8, 'count', 'Pins of retired CA keys that are told to agents.'),
  policyKeyLinks: limit(
    32,
    'count',
    'Rotations of the policy key that one who was away may catch up on; after more it joins again.',
  ),
  certSize: limit(16 * KiB, 'bytes', 'One certificate, X.509 or OpenSSH, before it is parsed.'),
  certPrincipals: limit(64, 'count', 'Principals in one SSH certificate.'),
  userAttributes: limit(
    4 * KiB,
    'bytes',
    'Roles, traits and logins in a user certificate, so that it fits into an HTTP header; larger is not signed.',
  ),
  signedRequest: limit(
    9 * KiB,
    'bytes',
    'Authorization header of a signed request, before it is parsed; an HTTP API of AWS takes 10,240 bytes of all headers.',
  ),
  proofWindow: limit(60 * second, 'ms', 'Age of a signed request either way.'),
  routeTtl: limit(5 * minute, 'ms', 'Life of a signed route.'),
  routeAgents: limit(16, 'count', 'Agents named by one route.'),

  // Policy and locks
  policyPoll: limit(1 * second, 'ms', 'How often a proxy reads the policy version.'),
  departureOverlap: limit(
    5 * minute,
    'ms',
    'How far a proxy reads back for services that left, because the clocks of those who wrote it down differ.',
  ),
  policyFreshness: limit(
    60 * second,
    'ms',
    'Age of a freshness stamp after which a new one is signed.',
  ),
  policyStrict: limit(
    5 * minute,
    'ms',
    'Under mode strict, new streams are refused when freshness is older.',
  ),
  policyStaleMark: limit(
    15 * minute,
    'ms',
    'Decisions on an older view are marked in the audit log.',
  ),
  policyTtl: limit(
    7 * 24 * hour,
    'ms',
    'Life of a signed policy; a new version is made past half of it.',
  ),
  policySize: limit(4 * MiB, 'bytes', 'The signed policy document.'),

  // Tunnel
  handshakeTimeout: limit(
    10 * second,
    'ms',
    'A WebSocket and its handshake must be complete by then.',
  ),
  handshakeMessage: limit(32 * KiB, 'bytes', 'One handshake message.'),
  dialTimeout: limit(10 * second, 'ms', 'TCP, TLS and WebSocket upgrade of one dial.'),
  dialStagger: limit(
    400,
    'ms',
    'A dial that has not succeeded by then goes on, and the next address is tried beside it.',
  ),
  sameProxyTries: limit(
    6,
    'count',
    'Dials of a second tunnel that may land on the same proxy in a row; then one a minute.',
  ),
  frameMax: limit(64 * KiB, 'bytes', 'Payload of one DATA frame; a larger one closes the tunnel.'),
  messageMax: limit(512 * KiB, 'bytes', 'One WebSocket message (many frames).'),
  openPayload: limit(32 * KiB, 'bytes', 'Payload of an OPEN or of its answer.'),
  resetPayload: limit(1 * KiB, 'bytes', 'Code and reason of a RESET; a longer reason is cut.'),
  offerTtl: limit(60 * second, 'ms', 'Life of the offer that a user signs to open a stream.'),
  windowMin: limit(8 * KiB, 'bytes', 'Receive window that every stream gets, however crowded.'),
  windowInitial: limit(
    256 * KiB,
    'bytes',
    'Receive window of a new stream while the connection and the process have room.',
  ),
  windowMax: limit(8 * MiB, 'bytes', 'Largest receive window of one stream.'),
  windowConnection: limit(
    64 * MiB,
    'bytes',
    'Sum of all receive windows of one connection; near it new ones are small, above it OPEN is refused.',
  ),
  windowProcess: limit(
    512 * MiB,
    'bytes',
    'Sum of what windows have above their minimum in one process; above it they do not grow.',
  ),
  flightInitial: limit(
    256 * KiB,
    'bytes',
    'What a tunnel has on its way before the peer must have seen some of it; doubles while the path takes more.',
  ),
  flightMax: limit(16 * MiB, 'bytes', 'Most that a tunnel has on its way.'),
  streamsPerTunnel: limit(4096, 'count', 'Open streams of one tunnel; OPEN is refused above it.'),
  halfOpenStreams: limit(1024, 'count', 'Streams of one tunnel that wait for their answer.'),
  openTimeout: limit(15 * second, 'ms', 'An OPEN must be answered by then.'),
  pingIdle: limit(15 * second, 'ms', 'Silence after which a ping is sent.'),
  deadAfter: limit(40 * second, 'ms', 'Silence after which a tunnel is dead and closed.'),
  suspectAfter: limit(1 * second, 'ms', 'Waiting traffic after which a tunnel is suspect.'),
  writeTimeout: limit(
    30 * second,
    'ms',
    'Bytes that the peer does not take for this long end the tunnel.',
  ),
  pendingControl: limit(
    4096,
    'count',
    'Control frames waiting to be written; above it the peer floods us and is cut.',
  ),
  suspectGrace: limit(
    3 * second,
    'ms',
    'A suspect tunnel that is not replaced earlier is given up after this, or 8 round trips if they are longer.',
  ),
  callPatience: limit(
    10 * second,
    'ms',
    'A call of a command that the control plane refused as one too many is sent again, with jitter, for so long.',
  ),
  openPatience: limit(
    10 * second,
    'ms',
    'A new connection that fails for a reason that passes is tried again, over any proxy, for so long.',
  ),
  resumeWindow: limit(
    60 * second,
    'ms',
    'How long both ends keep a stream whose tunnel broke; it ends when it is not resumed by then.',
  ),
  lastWords: limit(
    3 * second,
    'ms',
    'What ssh still had to say when it went is delivered within this, or not at all.',
  ),
  resumeAttempt: limit(
    2 * second,
    'ms',
    'The first try to resume a stream; then another is made, which may take twice as long as the last, up to openTimeout.',
  ),
  resumeAckDelay: limit(
    250,
    'ms',
    'Bytes taken from a resumable stream are acknowledged at least this soon.',
  ),
  replayMin: limit(
    32 * KiB,
    'bytes',
    'Unacknowledged bytes that every resumable stream may have on the way, each way, however crowded.',
  ),
  replayBuffer: limit(
    4 * MiB,
    'bytes',
    'Unacknowledged bytes of one resumable stream, each way; above it its source is not read.',
  ),
  replayProcess: limit(
    256 * MiB,
    'bytes',
    'Sum of what resumable streams may hold above replayMin in one process; above it they do not grow.',
  ),
  lookUpAfter: limit(
    5_000,
    'ms',
    'An agent whose proxy fell asks the control plane where proxies are after this and a part of lookUpSpread, unless it is connected by then.',
  ),
  lookUpMore: limit(
    5_000,
    'ms',
    'An agent that is told of more proxies than it knows asks for the list within this, times the number of proxies.',
  ),
  lookUpSpread: limit(
    25_000,
    'ms',
    'Over this time agents that lost the same proxy spread their questions.',
  ),
  backoffMin: limit(500, 'ms', 'First pause between two dials, with full jitter.'),
  backoffMax: limit(30 * second, 'ms', 'Longest pause between two dials.'),
  goAwayMax: limit(
    5 * minute,
    'ms',
    'Longest time to come back that a GOAWAY or a retry-after may ask of a client.',
  ),
  drainCheck: limit(
    1 * second,
    'ms',
    'How often a tunnel told to go away is looked at for streams.',
  ),
  tunnelsPerProxy: limit(20_000, 'count', 'Tunnels of one proxy process; above it 503.'),
  handshakesPending: limit(
    512,
    'count',
    'Handshakes in progress in one proxy; above it 503 with retry-after.',
  ),
  acceptPerTurn: limit(
    4,
    'count',
    'New connections that begin in one turn of the event loop; the others wait, and the newest is next.',
  ),
  acceptBacklog: limit(
    4096,
    'count',
    'Connections that the kernel holds until the process takes them (no more than net.core.somaxconn). What it drops comes again after a second or three.',
  ),
  acceptWaiting: limit(
    8192,
    'count',
    'New connections that wait to begin in one process; above it the oldest is closed.',
  ),
  handshakesPerSource: limit(
    128,
    'count',
    'Handshakes in progress from one address (IPv6: one /64); above it 503 with retry-after.',
  ),
  paceMin: limit(
    1 * second,
    'ms',
    'A peer that is refused for lack of room is asked to come back no sooner.',
  ),
  paceMax: limit(45 * second, 'ms', 'And no later; between the two each is given its own time.'),
  tunnelsPerIdentity: limit(
    4,
    'count',
    'Tunnels of one agent service to one proxy; a new one above it is refused as already here.',
  ),
  tunnelsPerUser: limit(2000, 'count', 'Tunnels of one user to one proxy; above it 429.'),
  peerDial: limit(
    2 * second,
    'ms',
    'A proxy must have reached another one by then; the stream then goes elsewhere.',
  ),
  leaseRenew: limit(5 * second, 'ms', 'How often a proxy renews its lease.'),
  leaseTtl: limit(
    20 * second,
    'ms',
    'A lease that was not renewed for this long counts for nothing.',
  ),

  // SSH
  sshLoginGrace: limit(30 * second, 'ms', 'A connection must have authenticated by then.'),
  sshAuthTries: limit(
    10,
    'count',
    'Refused authentication attempts before the connection is closed.',
  ),
  sshConnections: limit(
    512,
    'count',
    'SSH connections of one agent; above it new ones are refused.',
  ),
  sshChannels: limit(256, 'count', 'Channels of one SSH connection.'),
  sshEnv: limit(64, 'count', 'Environment variables of one session.'),
  sshEnvValue: limit(32 * KiB, 'bytes', 'One environment variable.'),
  sshCommand: limit(256 * KiB, 'bytes', 'One exec request.'),
  sshForwards: limit(64, 'count', 'Remote forwards (-R) of one connection.'),
  sshAuthRequests: limit(
    64,
    'count',
    'Authentication requests of one SSH connection, offers of keys included; more end it.',
  ),
  sshSocketBuffer: limit(
    4 * MiB,
    'bytes',
    'Encrypted bytes of one SSH connection that wait to be sent; above it its sources are not read.',
  ),
  sshRelayWindow: limit(
    2 * MiB,
    'bytes',
    'Bytes on their way between the tunnel and the worker of one SSH connection, each way.',
  ),
  sshWorkerMemory: limit(
    256 * MiB,
    'bytes',
    'JavaScript heap of one SSH connection; above it that connection ends.',
  ),
  sshSpareIdle: limit(
    10 * minute,
    'ms',
    'How long a loaded spare worker is kept after the last SSH connection began.',
  ),
  sshWorkerSilence: limit(
    30 * second,
    'ms',
    'A worker that does not answer for this long is ended with its connection.',
  ),
  sshHelperLine: limit(
    64 * KiB,
    'bytes',
    'One message of a session helper; a longer one ends its connection.',
  ),
  sshHelperStart: limit(10 * second, 'ms', 'A session helper must be ready by then.'),
  sshHangupGrace: limit(
    1 * second,
    'ms',
    'Between SIGHUP and SIGKILL for the processes of a session that was cut.',
  ),
  sshForwardDial: limit(10 * second, 'ms', 'The target of a forward (-L, -D) must answer by then.'),
  sshFileEvents: limit(
    1000,
    'count',
    'File operations of one SFTP session that are written to the audit log one by one.',
  ),

  // Apps
  appConnections: limit(4096, 'count', 'Connections to apps through one agent.'),
  appDialTimeout: limit(10 * second, 'ms', 'The agent must reach the target by then.'),
  commandLabelTimeout: limit(10 * second, 'ms', 'One run of a label command; then it is killed.'),
  commandLabelOutput: limit(256, 'bytes', 'Output of a label command; the rest is cut.'),

  // Agent
  policyPollAgent: limit(
    120 * second,
    'ms',
    'An agent whose newest word about the policy is older than this asks the control plane itself; it looks every 15 to 30 s.',
  ),
  policyDoubt: limit(
    1 * second,
    'ms',
    'Before it denies what a route leads to, an agent asks for a newer policy, at most this often, and waits at most this long.',
  ),
  announceInterval: limit(
    60 * second,
    'ms',
    'Changed labels are announced at most this often by one service.',
  ),
  offersRemembered: limit(
    100_000,
    'count',
    'Offers an agent remembers against replay, each for its minute; above it streams are refused.',
  ),
  auditSpool: limit(
    64 * MiB,
    'bytes',
    'Audit events an agent keeps until they are sent; above it the oldest that are no refusals go.',
  ),
  auditBatch: limit(100, 'count', 'Audit events in one upload of an agent.'),
  auditSync: limit(50, 'ms', 'Audit events are forced to disk at least this often.'),

  storeSweep: limit(
    60 * second,
    'ms',
    'How often the embedded store deletes what has run out; until then it counts as absent.',
  ),

  // Passwords
  passwordMin: limit(12, 'count', 'Shortest password of a local user.'),
  passwordMax: limit(1024, 'bytes', 'Longest password; longer is refused before hashing.'),

  // Audit
  eventSize: limit(16 * KiB, 'bytes', 'One audit event; longer texts are cut and marked.'),
  downloadUrl: limit(5 * minute, 'ms', 'A URL of an archive of the agent is good for so long.'),
  archivePart: limit(8 * MiB, 'bytes', 'JSON lines in one object of the archived audit log.'),
  archiveTimeout: limit(30 * second, 'ms', 'One object of the archive must be written by then.'),
  eventRetention: limit(365 * 24 * hour, 'ms', 'How long events stay in the table.'),
} as const satisfies Record<string, Limit>

export type LimitName = keyof typeof LIMITS
