/** Who holds the private CA keys: files of one machine, or KMS. Only what a verb signs with is ever opened in it. */
import type { Signer } from '../../core/certs/signer.ts'
import type { CaKey, CaKind } from '../../core/domain/ca.ts'

export interface CaKeyring {
  /** The signer of a key that the table names. Rejects when it is not there or is another key than the table says. */
  open(kind: CaKind, key: CaKey): Promise<Signer>
}

/** Keys that are made when somebody first asks for them, as no cluster needs them to begin with. */
export type KeyKind = CaKind | 'jwt' | 'db_client'

/** What a rotation needs besides. */
export interface CaKeyMaker extends CaKeyring {
  /** A new key. `ref` is what `open` finds it by later. */
  create(kind: KeyKind): Promise<{ readonly ref: string; readonly signer: Signer }>
  /** A key that is trusted by nobody any more: it goes, as far as its holder lets keys go. Never rejects for one that is gone. */
  retire(kind: KeyKind, key: Pick<CaKey, 'ref'>): Promise<void>
}
