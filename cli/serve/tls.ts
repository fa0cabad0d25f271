/** TLS of a served part: the operator's own certificate, read again when the file changed, or what the cluster issues. */
import { readFile } from 'node:fs/promises'
import type { Clock } from '../../core/clock.ts'
import { AppError, reasonOf } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { Listener, TlsMaterial } from '../up/listener.ts'
import type { TlsConfig } from './config.ts'

export const LOOK_EVERY_MS = 60_000

export interface OwnTls {
  /** Undefined: plain HTTP. */
  readonly material: TlsMaterial | undefined
  /** Keeps the listener's certificate as the files are. The answer ends that. */
  follow(listener: Listener): () => void
}

async function readPair(files: Exclude<TlsConfig, 'off' | undefined>): Promise<TlsMaterial> {
  try {
    const [key, chain] = await Promise.all([
      readFile(files.keyFile, 'utf8'),
      readFile(files.certFile, 'utf8'),
    ])
    return { key, chain }
  } catch (cause) {
    throw new AppError('ERR_CONFIG_INVALID', `tls: ${reasonOf(cause)}`, { cause })
  }
}

/** Undefined when the configuration leaves it to the cluster. */
export async function ownTls(
  config: TlsConfig,
  clock: Clock,
  log: Log,
): Promise<OwnTls | undefined> {
  if (config === undefined) return undefined
  if (config === 'off') return { material: undefined, follow: () => () => undefined }
  let material = await readPair(config)
  return {
    material,
    follow(listener) {
      const timer = clock.every(LOOK_EVERY_MS, () => {
        readPair(config).then(
          (next) => {
            if (next.key === material.key && next.chain === material.chain) return
            material = next
            listener.setTls(next)
            log.info('tls.renewed', { file: config.certFile })
          },
          (e: unknown) => log.error('tls.not_read', { reason: reasonOf(e) }),
        )
      })
      return () => timer.cancel()
    },
  }
}
