/**
 * Labels that an agent has by its token, in its certificate: one private, non-critical extension (OID.posternAgentLabels: a UTF8String
 * of JSON). The agent decides who may reach it by them, so they come from what the CA signed and not from its own configuration.
 */
import * as z from 'zod'
import { labels, type TokenLabels } from '../domain/name.ts'
import { AppError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { DerReader, TAG, utf8String } from './der.ts'
import { OID } from './oids.ts'
import type { Certificate } from './x509-read.ts'
import type { Extension } from './x509.ts'

const shape = z.strictObject({ forced: labels, suggested: labels })

const encode = ({ forced, suggested }: TokenLabels): string => JSON.stringify({ forced, suggested })

/** Whether they fit into a certificate. */
export const labelsFit = (given: TokenLabels): boolean =>
  Buffer.byteLength(encode(given)) <= LIMITS.tokenLabels.value

/** undefined when there are none. Throws ERR_CERT_REQUEST_REFUSED above LIMITS.tokenLabels. */
export function agentLabelsExtension(given: TokenLabels): Extension | undefined {
  if (Object.keys(given.forced).length + Object.keys(given.suggested).length === 0) return undefined
  if (!labelsFit(given))
    throw new AppError('ERR_CERT_REQUEST_REFUSED', 'the labels of the token are too large')
  return { oid: OID.posternAgentLabels, critical: false, value: utf8String(encode(given)) }
}

/** The same object for every certificate that has none. */
const NONE: TokenLabels = { forced: {}, suggested: {} }
/** A certificate never changes, and its labels are asked for with every stream. */
const known = new WeakMap<Certificate, TokenLabels>()

/** Throws ERR_CERT_INVALID. */
export function agentLabelsOf(certificate: Certificate): TokenLabels {
  const value = certificate.extension(OID.posternAgentLabels)
  if (!value) return NONE
  const before = known.get(certificate)
  if (before) return before
  const reader = new DerReader(value)
  const text = reader.expect(TAG.utf8String).content
  reader.end()
  let found: TokenLabels
  try {
    found = shape.parse(JSON.parse(text.toString('utf8')))
  } catch (cause) {
    throw new AppError('ERR_CERT_INVALID', undefined, { internal: 'agent labels', cause })
  }
  known.set(certificate, found)
  return found
}
