/** From an address that a person gives to the cluster behind it. */
import { discovery, type Discovery } from '../../core/domain/cluster.ts'
import { isAppError } from '../../core/errors.ts'
import { parse } from '../../core/parse.ts'
import type { ApiClient } from '../../net/http-client.ts'
import { isUntrusted } from '../../net/trust.ts'
import { HintedError, usage } from '../ui/report.ts'

/** `source` names where the text came from, for the error. */
export function originOf(text: string, source: string): string {
  const url = /^https:\/\//.test(text) ? text : `https://${text}`
  if (!URL.canParse(url) || new URL(url).pathname !== '/')
    throw usage(`${source}: use host:port, as access.example.com:443`)
  return new URL(url).origin
}

export async function discover(api: ApiClient, pins: readonly string[] = []): Promise<Discovery> {
  try {
    const answer = await api.request('GET', '/.well-known/postern')
    return parse(discovery, answer, { code: 'ERR_INTERNAL' })
  } catch (e) {
    if (!isAppError(e) || !isUntrusted(e)) throw e
    const hint =
      pins.length === 0
        ? 'this machine does not trust its certificate; give --ca-pin sha256:…'
        : 'its certificate is not of the pinned CA; where it is of a public CA leave the pin out: passwords and keys are then protected by that certificate alone'
    throw new HintedError(e, hint)
  }
}
