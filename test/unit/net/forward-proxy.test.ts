import { describe, expect, test } from 'vitest'
import { forwardProxy } from '../../../net/forward-proxy.ts'

const P = 'http://p:1'

test.each([
  [{}, undefined],
  [{ HTTPS_PROXY: '' }, undefined],
  [{ HTTPS_PROXY: P }, P],
  [{ https_proxy: P }, P],
  [{ HTTPS_PROXY: '', https_proxy: P }, P],
  [{ HTTPS_PROXY: 'p:1' }, P],
  [{ HTTPS_PROXY: P, no_proxy: 'a.example.com' }, undefined],
  [{ HTTPS_PROXY: P, NO_PROXY: '' }, P],
])('the environment %o gives a.example.com the proxy %s', (env, proxy) => {
  expect(forwardProxy(env)('a.example.com', 443)).toBe(proxy)
})

describe('NO_PROXY', () => {
  test.each<[string, string, boolean]>([
    ['*', 'a.example.com', true],
    ['a.example.com', 'a.example.com', true],
    ['A.Example.COM.', 'a.example.com', true],
    ['example.com', 'a.example.com', true],
    ['.example.com', 'a.example.com', true],
    ['*.example.com', 'a.example.com', true],
    ['x, example.com', 'a.example.com', true],
    ['x example.com', 'a.example.com', true],
    ['le.com', 'a.example.com', false],
    ['a.example.com.evil.test', 'a.example.com', false],
    ['example.com:443', 'a.example.com', true],
    ['example.com:8443', 'a.example.com', false],
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['10.0.0.0/8', '10.example.com', false],
    ['10.0.0.0/33,10.0.0.0/,/8,10.0.0/8', '10.0.0.1', false],
    ['127.0.0.1', '127.0.0.1', true],
    ['0.0.1', '127.0.0.1', false],
    ['127.0.0.1:443', '127.0.0.1', true],
    ['127.0.0.1:80', '127.0.0.1', false],
    ['::1', '[::1]', true],
    ['[::1]:443', '::1', true],
    ['[::1]:444', '::1', false],
    ['fd00::/8', 'fd12::1', true],
    ['fd00::/8', '10.0.0.1', false],
    ['.,*.,:443', 'a.example.com', false],
    ['', '127.0.0.1', false],
    ['', 'localhost', false],
  ])('%j: %s is dialled directly: %s', (NO_PROXY, host, direct) => {
    const proxy = forwardProxy({ HTTPS_PROXY: P, NO_PROXY })(host, 443)
    expect(proxy).toBe(direct ? undefined : P)
  })
})
