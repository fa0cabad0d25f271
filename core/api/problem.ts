/** The client's half of RFC 9457: an error answer as the AppError it was on the other side. */
import * as z from 'zod'
import { AppError, type ErrorCode, type ErrorDetails } from '../errors.ts'
import { isErrorCode, printable } from '../tunnel/reset-reason.ts'

const issue = z.object({ path: z.string().max(512), message: z.string().max(1024) })
/** Other members are allowed and passed over; what is used is capped. */
const problemDocument = z.object({
  code: z.string().max(64),
  detail: z.string().max(4096).optional(),
  issues: z.array(issue).max(100).optional(),
  serverTime: z.number().optional(),
  service: z.string().max(64).optional(),
  roles: z.array(z.string().max(128)).max(100).optional(),
})

export interface ProblemAnswer {
  readonly status: number
  readonly body: Buffer
  readonly retryAfter?: string | undefined
  readonly requestId?: string | undefined
}

/** What gateways and load balancers in front say by themselves, without a problem document. */
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  403: 'ERR_FORBIDDEN',
  413: 'ERR_INPUT_TOO_LARGE',
  429: 'ERR_RATE_LIMITED',
  431: 'ERR_INPUT_TOO_LARGE',
  502: 'ERR_GATEWAY',
  503: 'ERR_GATEWAY',
  504: 'ERR_GATEWAY',
}

/** Never throws. What is no problem document, or has a code of another release, is an error all the same. */
export function problemError(answer: ProblemAnswer): AppError {
  const request = answer.requestId ? `, request ${printable(answer.requestId)}` : ''
  const internal = `HTTP ${answer.status}${request}`
  const parsed = problemDocument.safeParse(json(answer.body))
  if (!parsed.success) {
    const code =
      BY_STATUS[answer.status] ?? (answer.status > 504 ? 'ERR_UNREACHABLE' : 'ERR_INTERNAL')
    const retryAfter = seconds(answer.retryAfter)
    const details = retryAfter === undefined ? {} : { details: { retryAfter } }
    return new AppError(code, undefined, { internal, ...details })
  }
  const { code, detail, issues, serverTime, service, roles } = parsed.data
  const retryAfter = seconds(answer.retryAfter)
  const details: ErrorDetails = {
    ...(issues ? { issues } : {}),
    ...(retryAfter === undefined ? {} : { retryAfter }),
    ...(serverTime === undefined ? {} : { serverTime }),
    ...(service === undefined ? {} : { service }),
    ...(roles ? { roles } : {}),
  }
  return new AppError(
    isErrorCode(code) ? code : 'ERR_INTERNAL',
    detail === undefined ? undefined : printable(detail),
    { details, internal: `${internal}, ${printable(code)}` },
  )
}

function json(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown
  } catch {
    return undefined
  }
}

const seconds = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : undefined
