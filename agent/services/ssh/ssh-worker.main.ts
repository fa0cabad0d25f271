/**
 * The worker: a thread of the agent that serves one SSH connection and then ends. What a client can do to an SSH server
 * (load, memory, a crash) it does to its own thread. It waits, loaded and warm, for the connection it is given.
 */
import { parentPort } from 'node:worker_threads'
import { invariant } from '../../../core/errors.ts'
import { createLink } from './server/link.ts'
import { serveConnection } from './server/connection.ts'
import { warmUp } from './ssh2/mlkem.ts'

invariant(parentPort, 'the worker runs as a thread')
warmUp()
createLink(parentPort, (start, link) => serveConnection(start, link))
