/**
 * How much of a session may be on its way at once: what was handed to the carrier and not yet seen by the peer. Without it the
 * buffers of two kernels fill with megabytes of bulk, and a keystroke waits behind all of them (the same reason as TCP_NOTSENT_LOWAT,
 * which Node cannot set).
 *
 * The peer says how far it is by answering a PING that was sent behind the bytes. The window starts small and doubles while a
 * whole window passes in less than two unloaded round trips, because then the window and not the path is the limit.
 */
import type { Clock } from '../clock.ts'
import { LIMITS } from '../limits.ts'
import type { Pings } from './pings.ts'

/** A PING follows each this-many-th of a window. */
const MARKS = 4

export class Pacer {
  readonly #clock: Clock
  readonly #pings: Pings
  readonly #onRoom: () => void
  #window: number = LIMITS.flightInitial.value
  #sent = 0
  #marked = 0
  #seen = 0
  /** Where and when the window that is being timed began. */
  #from = 0
  #since = 0

  constructor(clock: Clock, pings: Pings, onRoom: () => void) {
    this.#clock = clock
    this.#pings = pings
    this.#onRoom = onRoom
  }

  /** Nothing more may go out until the peer has seen some; `onRoom` is called then. */
  get full(): boolean {
    return this.#sent - this.#seen >= this.#window
  }

  /** `bytes` are handed over. */
  wrote(bytes: number): void {
    // After a pause the time that passed says nothing about the path.
    if (this.#sent === this.#seen) this.#time(this.#sent)
    this.#sent += bytes
    if (this.#sent - this.#marked < this.#window / MARKS) return
    const position = this.#sent
    this.#marked = position
    this.#pings.send().then(
      () => this.#answered(position),
      () => undefined,
    )
  }

  /** The peer has everything before `position`. */
  #answered(position: number): void {
    this.#seen = position
    if (position - this.#from >= this.#window) {
      const { rtt } = this.#pings
      const took = this.#clock.monotonic() - this.#since
      // Infinity, an unknown round trip, grows nothing.
      if (Number.isFinite(rtt) && took <= 2 * rtt)
        this.#window = Math.min(this.#window * 2, LIMITS.flightMax.value)
      this.#time(position)
    }
    this.#onRoom()
  }

  #time(position: number): void {
    this.#from = position
    this.#since = this.#clock.monotonic()
  }
}
