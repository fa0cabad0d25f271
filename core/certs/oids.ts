/** Object identifiers that our certificates use, by the name their RFC gives them. */
export const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ed25519: '1.3.101.112',
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  /**
   * Ours, from the UUID bf3e816c-f8fa-4757-b4ec-2d958b18b4e8 (X.667): roles, traits and logins of a user, a UTF8String of
   * JSON, never critical.
   */
  posternUser: '2.25.254207094664683364440150286220721173736',
  /** Ours, from the UUID 5d0f3c1a-7b64-4c0e-9a52-0e6f2b9d4c71: labels that an agent has by its token, a UTF8String of JSON. */
  posternAgentLabels: '2.25.123697307103571551024794216114385931377',
} as const

/** Bits of keyUsage in the first byte of its bit string, RFC 5280 section 4.2.1.3. */
export const KEY_USAGE = {
  digitalSignature: 0x80,
  keyCertSign: 0x04,
  cRLSign: 0x02,
} as const
