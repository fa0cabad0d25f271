/**
 * Streams that the peer asked for and that are not answered. One that it takes back counts on until whoever was asked is done with
 * it: else asking and taking back in one breath would cost the peer nothing and us signatures without number (rapid reset,
 * CVE-2023-44487).
 */
export class Offers<S extends object> {
  #count = 0
  /** Somebody is at work on the answer; true: nobody waits for it any more. */
  readonly #working = new Map<S, boolean>()

  get count(): number {
    return this.#count
  }

  /** `work` is what the handler returns: a promise while it is at work. Throws what it throws. */
  ask(stream: S, work: () => void | Promise<void>): void {
    this.#count++
    this.#working.set(stream, false)
    const done = (): void => {
      if (this.#working.get(stream) === true) this.#count--
      this.#working.delete(stream)
    }
    try {
      const ended = work()
      if (ended instanceof Promise) ended.then(done, done)
      else done()
    } catch (e) {
      done()
      throw e
    }
  }

  /** The stream was accepted, refused, or taken back. */
  answered(stream: S, accepted: boolean): void {
    if (!accepted && this.#working.has(stream)) return void this.#working.set(stream, true)
    this.#working.delete(stream)
    this.#count--
  }
}
