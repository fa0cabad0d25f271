/** Types of the ssh2 modules that the package does not declare. Only what the workarounds beside this file touch. */
declare module 'ssh2/lib/protocol/kex.js' {
  interface KexLists {
    kex: readonly string[]
    serverHostKey: readonly string[]
    cs: {
      cipher: readonly string[]
      mac: readonly string[]
      compress: readonly string[]
      lang: readonly string[]
    }
    sc: KexLists['cs']
  }
  const kex: {
    KexInit: new (lists: KexLists) => unknown
    HANDLERS: Record<number, (protocol: never, payload: Buffer) => unknown>
  }
  export default kex
}
declare module 'ssh2/lib/protocol/handlers.js' {
  const handlers: Record<number, (protocol: never, payload: Buffer) => unknown>
  export default handlers
}
declare module 'ssh2/lib/protocol/crypto.js' {
  const crypto: {
    CIPHER_INFO: Record<string, unknown>
    createCipher(config: { readonly outbound: object }): unknown
    createDecipher(config: { readonly inbound: object }): unknown
  }
  export default crypto
}
