/** The OpenAPI 3.1 document, from the very schemas that parse the requests. Loaded only when somebody asks for it. */
import * as z from 'zod'
import { ERRORS, type ErrorCode } from '../../core/errors.ts'
import { curlOf, EXAMPLES, type Example } from './examples.ts'
import { OPERATIONS, type Operation, type Who } from './operations.ts'

/** Without `$schema`: the dialect is said once, by OpenAPI 3.1 itself. */
const schemaOf = (type: z.ZodType, io: 'input' | 'output'): object => {
  const schema = z.toJSONSchema(type, { io, unrepresentable: 'any' })
  return Object.fromEntries(Object.entries(schema).filter(([key]) => key !== '$schema'))
}

const json = (schema: object, examples: readonly unknown[] = []) => ({
  'application/json': {
    schema,
    ...(examples.length === 0
      ? {}
      : {
          examples: Object.fromEntries(
            examples.map((value, i) => [i === 0 ? 'example' : `example${i + 1}`, { value }]),
          ),
        }),
  },
})

const EVERY: readonly ErrorCode[] = ['ERR_INPUT_INVALID', 'ERR_RATE_LIMITED', 'ERR_INTERNAL']
const SIGNED: readonly ErrorCode[] = [
  'ERR_UNAUTHENTICATED',
  'ERR_PROOF_INVALID',
  'ERR_CLOCK',
  'ERR_FORBIDDEN',
  'ERR_LOCKED',
]
const WRITES: readonly ErrorCode[] = ['ERR_INPUT_TOO_LARGE']

function errorsOf(operation: Operation): Record<string, object> {
  const codes = [
    ...EVERY,
    ...(operation.who === 'anyone' ? [] : SIGNED),
    ...(operation.input ? WRITES : []),
    ...(operation.errors ?? []),
  ]
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const { status } = ERRORS[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  return Object.fromEntries(
    [...byStatus].map(([status, list]) => [
      String(status),
      {
        description: list.map((code) => `${code}: ${ERRORS[code].title}`).join('; '),
        content: {
          'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
        },
      },
    ]),
  )
}

const exampleOf = ({ method, path }: Operation): Example | undefined =>
  EXAMPLES[`${method} ${path}`]

function successOf(operation: Operation): Record<string, object> {
  const { success, output } = operation
  const answer = exampleOf(operation)?.answer
  const content = json(
    output ? schemaOf(output, 'output') : { type: 'object' },
    answer === undefined ? [] : [answer],
  )
  return Object.fromEntries(
    success.map((status) => [
      String(status),
      status === 204 || status === 304
        ? { description: status === 204 ? 'Done.' : 'Not changed.' }
        : { description: 'Done.', content },
    ]),
  )
}

/** A repeat of these changes nothing, so they take no key; nor do calls without a caller to own it. */
const REPEATABLE: readonly string[] = ['/v1/certs', '/v1/routes']

function parametersOf(operation: Operation): object[] {
  const { path, query, method, who } = operation
  const asked = exampleOf(operation)?.url.split('/')
  const inPath = path.split('/').flatMap((part, i) => {
    const name = /^\{(\w+)\}$/.exec(part)?.[1]
    const example = asked?.[i]
    return name === undefined
      ? []
      : [
          {
            name,
            in: 'path',
            required: true,
            schema: { type: 'string' },
            ...(example === undefined ? {} : { example: decodeURIComponent(example) }),
          },
        ]
  })
  const inQuery = Object.entries(query?.shape ?? {}).map(([name, type]) => ({
    name,
    in: 'query',
    required: false,
    schema: schemaOf(type as z.ZodType, 'input'),
  }))
  const inHeader =
    method === 'get' || who === 'anyone' || REPEATABLE.includes(path)
      ? []
      : [{ name: 'Idempotency-Key', in: 'header', required: false, schema: { type: 'string' } }]
  return [...inPath, ...inQuery, ...inHeader]
}

function securityOf(who: Who): object[] {
  switch (who) {
    case 'anyone':
      return []
    case 'operator':
    case 'any caller':
      return [{ apiKey: [] }, { signedRequest: [] }]
    case 'user':
    case 'agent':
    case 'agent or proxy':
      return [{ signedRequest: [] }]
  }
}

const curl = ({ method, who }: Operation, example: Example): string => {
  const bearer = who === 'operator' || who === 'any caller'
  return curlOf(method, example, { bearer, signed: !bearer && who !== 'anyone' })
}

function operationOf(operation: Operation): object {
  const { input, method, path, summary, who } = operation
  const example = exampleOf(operation)
  const schemas = (input ?? []).map((type) => schemaOf(type, 'input'))
  return {
    operationId: `${method}${path.replace(/[^A-Za-z0-9]+(.)?/g, (_, c: string | undefined) => c?.toUpperCase() ?? '')}`,
    summary,
    description: `For: ${who}.`,
    security: securityOf(who),
    parameters: parametersOf(operation),
    ...(example ? { 'x-codeSamples': [{ lang: 'Shell', source: curl(operation, example) }] } : {}),
    ...(schemas.length === 0
      ? {}
      : {
          requestBody: {
            required: true,
            content: json(
              schemas.length === 1 ? (schemas[0] ?? {}) : { anyOf: schemas },
              example?.bodies,
            ),
          },
        }),
    responses: { ...successOf(operation), ...errorsOf(operation) },
  }
}

const problem = {
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'code', 'requestId'],
  properties: {
    type: { type: 'string', format: 'uri' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string', enum: Object.keys(ERRORS) },
    requestId: { type: 'string' },
    issues: {
      type: 'array',
      items: {
        type: 'object',
        properties: { path: { type: 'string' }, message: { type: 'string' } },
      },
    },
    serverTime: { type: 'integer' },
    service: { type: 'string' },
    roles: { type: 'array', items: { type: 'string' } },
  },
}

const INTRODUCTION = `
Who calls says so in the header \`authorization\`.

- A program: \`Bearer pst_key_…\`, an API key. \`postern keys add NAME --scope token:create\` makes one; the first is printed when a
  cluster is set up.
- A job of a CI system: \`Bearer <id token>\` of an issuer that a connector trusts.
- A person, an agent, a proxy: \`Postern <jws>\`, a signature over this very call by the key of its certificate.

The samples of this document are lines of curl. Set two variables once:

    API=https://…            # servers, below
    KEY=pst_key_…            # or keep it in a file: -H @file, with the line "authorization: Bearer pst_key_…"

Where the address has a certificate of the cluster's own CA, add \`--cacert ca.pem\`: \`postern up\` writes it to its data directory.
Join tokens are minted by \`POST /v1/tokens\`. A write with \`Idempotency-Key\` happens once, however often it is sent.
A refusal is \`application/problem+json\` with a stable \`code\`.
`.trim()

export function openapiDocument(version: string, origins: readonly string[]): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const operation of OPERATIONS)
    (paths[operation.path] ??= {})[operation.method] = operationOf(operation)
  return {
    openapi: '3.1.0',
    info: { title: 'Postern', version, description: INTRODUCTION },
    servers: origins.map((url) => ({ url })),
    paths,
    components: {
      schemas: { Problem: problem },
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer' },
        signedRequest: {
          type: 'apiKey',
          in: 'header',
          name: 'Authorization',
          description: '`Postern <jws>`: proof of possession of the certificate in x5c.',
        },
      },
    },
  }
}
