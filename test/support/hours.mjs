/**
 * Preloaded into processes of a test cluster: their wall clock stands back by what a file says, and when the file says less, that time
 * passes at once for what waits longer than a minute. What is shorter, liveness above all, goes by the machine's own time; but what is
 * done every so often is done once right then, as on a machine that stood still. So a lease that ran out meanwhile is there again.
 *
 * Back, because Node's own TLS looks at the machine's clock: a certificate of the past that is still good is good there too.
 */
import { readFileSync, watch } from 'node:fs'
import { OutgoingMessage } from 'node:http'
import { basename, dirname } from 'node:path'

const file = process.env['POSTERN_TEST_BEHIND'] ?? ''
/** Waits below this are the machine's own, ms. */
const LONG = 60_000
const Machine = Date
const {
  setTimeout: wait,
  clearTimeout: end,
  setInterval: every,
  clearInterval: endEvery,
} = globalThis

const read = () => {
  const text = readFileSync(file, 'utf8')
  return /^\d+$/.test(text) ? Number(text) : undefined
}
let behind = read() ?? 0

class StandsBack extends Machine {
  constructor(...args) {
    if (args.length > 0) super(...args)
    else super(StandsBack.now())
  }
  static now() {
    return Machine.now() - behind
  }
}
globalThis.Date = StandsBack
// The date that Node puts into answers is the machine's: a client that believed it would sign for another time.
Object.defineProperty(OutgoingMessage.prototype, 'sendDate', { get: () => false, set() {} })

/** Waits that are under way, by what their caller got for them. */
const waits = new Map()

class LongWait {
  constructor(ms, run) {
    this.due = performance.now() + ms
    this.run = () => {
      waits.delete(this)
      run()
    }
    this.set()
  }
  set() {
    end(this.timer)
    this.timer = wait(this.run, Math.max(0, this.due - performance.now()))
    if (this.free) this.timer.unref()
  }
  unref() {
    this.free = true
    this.timer.unref()
    return this
  }
  ref() {
    this.free = false
    this.timer.ref()
    return this
  }
}
globalThis.setTimeout = (fn, ms = 0, ...args) => {
  if (!(ms >= LONG)) return wait(fn, ms, ...args)
  const made = new LongWait(ms, () => fn(...args))
  waits.set(made, true)
  return made
}
/** What is done every so often. */
const rounds = new Map()
globalThis.setInterval = (fn, ms, ...args) => {
  const timer = every(fn, ms, ...args)
  rounds.set(timer, () => fn(...args))
  return timer
}
globalThis.clearInterval = (timer) => {
  rounds.delete(timer)
  endEvery(timer)
}
globalThis.clearTimeout = (timer) => {
  rounds.delete(timer)
  if (!(timer instanceof LongWait)) return end(timer)
  waits.delete(timer)
  end(timer.timer)
}

watch(dirname(file), { persistent: false }, (_event, name) => {
  const next = name === basename(file) ? read() : undefined
  if (next === undefined || next === behind) return
  const passed = behind - next
  behind = next
  for (const one of waits.keys()) {
    one.due -= passed
    one.set()
  }
  for (const run of [...rounds.values()]) run()
})
