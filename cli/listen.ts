/** Addresses to listen on, as people write them. */
import { isIP } from 'node:net'
import { AppError } from '../core/errors.ts'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** `127.0.0.1:3080`, `[::1]:3080`, `:3080`, `3080`; port 0 takes a free one. */
export function parseListen(text: string, option = '--listen'): ListenAddress {
  const match = /^(?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):)?(\d{1,5})$/.exec(text)
  const port = Number(match?.[2])
  if (!match || port > 65_535)
    throw new AppError('ERR_USAGE', `${option}: use host:port, as 127.0.0.1:3080`)
  const host = (match[1] ?? '127.0.0.1').replaceAll(/[[\]]/g, '')
  return { host: host === '' ? '0.0.0.0' : host, port }
}

/** `host:port` with brackets around IPv6. */
export const address = (host: string, port: number): string =>
  isIP(host) === 6 ? `[${host}]:${port}` : `${host.toLowerCase()}:${port}`
