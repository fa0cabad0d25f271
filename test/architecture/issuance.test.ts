// Who signs is one short list: a new way to a certificate is seen here first.
import { expect, test } from 'vitest'
import { sources } from './sources.ts'

/** Files outside core that call a function of this name. */
const callers = (name: string): string[] =>
  sources()
    .filter(({ path }) => !path.startsWith('core/certs/'))
    .filter(({ text }) => new RegExp(`(?<!function )\\b${name}\\(`).test(text))
    .map(({ path }) => path)
    .sort()

test('CVE-2025-44005 (step-ca): certificates come from few places, each behind its own check', () => {
  expect(callers('issueCertificate')).toEqual([
    'functions/join/agent-certificates.ts',
    'functions/login/user-certificates.ts',
    // The listener and the proxy of `postern up`: nothing that a request could reach.
    'functions/wiring.ts',
  ])
  expect(callers('issueSshCertificate')).toEqual([
    'functions/join/agent-certificates.ts',
    'functions/login/user-certificates.ts',
  ])
  // After the commit of a join, and after that of a renewal.
  expect(callers('issueAgentCredentials')).toEqual([
    'functions/join/join.ts',
    'functions/join/renew.ts',
  ])
  // After a password, and for a caller who proved who it is.
  expect(callers('issueUserCertificates')).toEqual(['functions/routes/login.ts'])
  expect(callers('createCaCertificate')).toEqual([
    'functions/ca/new-key.ts',
    'functions/routes/ca-certificate.ts',
  ])
})
