/**
 * Cursors: where a list goes on, opaque and tamper-evident. A cursor is bound to the list and its filters; one that is not
 * ours, was changed, or belongs to another list is refused, so that nobody can read from a place of their choosing.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import * as z from 'zod'
import { badField } from '../../../core/errors.ts'
import { LIMITS } from '../../../core/limits.ts'

export interface Cursors {
  seal(scope: string, position: Position): string
  open(scope: string, cursor: string): Position
}
const position = z.record(z.string(), z.union([z.string(), z.number()]))
type Position = z.output<typeof position>

/** Sealed positions are a few hundred bytes; more is not ours. */
const MAX_CURSOR = 4096
const MAC_BYTES = 16

export function createCursors(key: Uint8Array): Cursors {
  const mac = (scope: string, body: string) =>
    createHmac('sha256', key).update(`cursor\0${scope}\0${body}`).digest().subarray(0, MAC_BYTES)
  const refuse = () => badField('cursor', 'use a cursor that the page before gave, unchanged')
  return {
    seal(scope, at) {
      const body = Buffer.from(JSON.stringify(at)).toString('base64url')
      return `${body}.${mac(scope, body).toString('base64url')}`
    },
    open(scope, cursor) {
      if (cursor.length > MAX_CURSOR) throw refuse()
      const [body = '', sum = '', ...more] = cursor.split('.')
      const given = Buffer.from(sum, 'base64url')
      if (more.length > 0 || given.length !== MAC_BYTES) throw refuse()
      if (!timingSafeEqual(given, mac(scope, body))) throw refuse()
      const parsed = position.safeParse(JSON.parse(Buffer.from(body, 'base64url').toString('utf8')))
      if (!parsed.success) throw refuse()
      return parsed.data
    },
  }
}

export function pageLimit(limit: number | undefined): number {
  if (limit === undefined) return LIMITS.pageSizeDefault.value
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMITS.pageSize.value)
    throw badField('limit', `use a whole number from 1 to ${LIMITS.pageSize.value}`)
  return limit
}
