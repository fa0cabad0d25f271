// The name of the gate stops resolving while an agent is connected through it, and comes back.
import dns from 'node:dns'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chaosRelay, type ChaosRelay } from '../../support/chaos-relay.ts'
import { openGate, type Gate } from './gate.ts'

/** In the gate's certificate, and nothing else here is asked for by it. */
const NAME = 'localhost'
const real = dns.lookup
/** What it answers for NAME; undefined: as a resolver that is away. */
let answer: string | undefined = '127.0.0.1'

type Done = (error: NodeJS.ErrnoException | null, address?: unknown, family?: number) => void
const resolver = (name: string, options: { all?: boolean }, done: Done): void => {
  if (name !== NAME) return void (real as (...args: unknown[]) => void)(name, options, done)
  const at = answer
  setImmediate(() => {
    if (at === undefined)
      done(Object.assign(new Error(`getaddrinfo EAI_AGAIN ${name}`), { code: 'EAI_AGAIN' }))
    else if (options.all === true) done(null, [{ address: at, family: 4 }])
    else done(null, at, 4)
  })
}

let gate: Gate
let relay: ChaosRelay
let echo: Server
beforeAll(async () => {
  dns.lookup = resolver as typeof dns.lookup
  let own = 0
  relay = await chaosRelay(() => own)
  gate = await openGate({
    publicAddress(address) {
      own = Number(address.split(':').at(-1))
      return `${NAME}:${relay.port}`
    },
  })
  echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket))
  await once(echo.listen(0, '127.0.0.1'), 'listening')
})
afterAll(async () => {
  dns.lookup = real
  await gate.close()
  await relay.close()
  echo.close()
})

test('without a resolver the agent says so and tries on; when it is back the agent is, and a user who asked meanwhile is served', async () => {
  const uri = `tcp://127.0.0.1:${(echo.address() as AddressInfo).port}`
  const { agent, log } = await gate.start({
    token: await gate.mint(),
    services: `app_service: { enabled: true, apps: [{ name: echo, uri: '${uri}' }] }`,
  })
  await agent.settled()
  const { port } = await gate.listen(await gate.user('ann', ['access']), 'echo')

  answer = undefined
  relay.cut()
  await log.seen('tunnel.lost', ({ fields }) => /EAI_AGAIN/.test(String(fields['message'])))
  expect(agent.services.get('app')).toMatchObject({
    state: 'connecting',
    error: { code: 'ERR_UNREACHABLE' },
  })

  const socket = connect(port, '127.0.0.1')
  socket.write('asked without a resolver')
  await once(socket, 'connect')
  const seen = log.entries.length
  answer = '127.0.0.1'
  const back = once(socket, 'data')
  await log.seen('tunnel.connected', (entry) => log.entries.indexOf(entry) >= seen)
  expect(String((await back)[0])).toBe('asked without a resolver')
  socket.destroy()
})
