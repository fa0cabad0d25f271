/** Whom TLS believes when a profile is used. */
import type { Trust } from '../../net/trust.ts'
import type { Profile } from './profile.ts'

/**
 * A profile that was made with pins believes the cluster's own CA and nobody else; one made over public TLS believes what
 * the machine believes as well. Leaving the system's roots out also saves parsing all of them at each ssh (some 35 ms).
 */
export const trustOf = (profile: Pick<Profile, 'caPins' | 'hostCas'>): Trust => ({
  system: profile.caPins.length === 0,
  ca: profile.hostCas,
})
