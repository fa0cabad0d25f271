/** `/v1/cas`: the CAs for operators. Rotations are audited one phase at a time, also those that move by themselves. */
import { rollbackRequest, rotateRequest, type CaDocument } from '../../core/api/cas.ts'
import { iso } from '../../core/clock.ts'
import {
  CA_KINDS,
  phaseAfter,
  phaseEnds,
  signingKey,
  trustedKeys,
  type CaKey,
  type CaKind,
  type CaState,
} from '../../core/domain/ca.ts'
import type { EventType, NewEvent } from '../../core/domain/event.ts'
import { formatDuration } from '../../core/duration.ts'
import { audit } from '../audit.ts'
import { createRotator } from '../ca/rotation.ts'
import type { RotateDeps } from '../deps.ts'
import { body, notFound, type Ctx, type VerbApp } from '../http.ts'
import { actorOf, type Caller } from '../middleware/callers.ts'
import { requireRight, requireRightOn } from '../middleware/rights.ts'

const keyOf = ({ pin, created }: CaKey) => ({ pin, created: iso(created) })

function documentOf(state: CaState): CaDocument {
  const { kind, phase, rotation, rotated, retired } = state
  const ends = phaseEnds(state)
  return {
    kind: 'ca',
    name: kind,
    phase,
    signs: keyOf(signingKey(state)),
    trusted: trustedKeys(state).map(keyOf),
    ...(rotation
      ? {
          rotation: {
            mode: rotation.mode,
            grace: formatDuration(rotation.grace),
            started: iso(rotation.started),
            since: iso(rotation.since),
            ...(ends === undefined ? {} : { ends: iso(ends) }),
            next_phase: phaseAfter(phase),
          },
        }
      : {}),
    ...(rotated === undefined ? {} : { rotated: iso(rotated) }),
    retired: [...retired],
  }
}

/** What the audit log keeps of one step. */
export const caEvent = (
  type: Extract<EventType, 'ca.rotate' | 'ca.rollback'>,
  state: CaState,
): Pick<NewEvent, 'type' | 'fields'> & { readonly resource: string } => ({
  type,
  resource: `ca/${state.kind}`,
  fields: {
    phase: state.phase,
    signs: signingKey(state).pin,
    trusted: trustedKeys(state).map((key) => key.pin),
    ...(state.rotation
      ? { mode: state.rotation.mode, grace: formatDuration(state.rotation.grace) }
      : {}),
  },
})

export function caRoutes(app: VerbApp, deps: RotateDeps): void {
  const rotator = createRotator(deps)

  const kindOf = (c: Ctx): CaKind => {
    const kind = CA_KINDS.find((one) => one === c.req.param('name'))
    if (!kind) throw notFound()
    return kind
  }
  async function answer(
    c: Ctx,
    caller: Caller,
    type: Parameters<typeof caEvent>[0],
    state: CaState,
  ): Promise<Response> {
    await audit(deps, c, { ...caEvent(type, state), actor: actorOf(caller) })
    return c.json(documentOf(state))
  }

  app.get('/v1/cas', async (c) => {
    await requireRight(deps, c, 'ca', 'list')
    return c.json({ items: (await rotator.states()).map(documentOf) })
  })

  app.post('/v1/cas/:name/rotate', async (c) => {
    const caller = await requireRightOn(deps, c, 'ca', 'update')
    const kind = kindOf(c)
    const { phase, grace, force = false } = body(c, rotateRequest)
    const state = await rotator.rotate({ kind, phase, grace, force })
    return answer(c, caller, 'ca.rotate', state)
  })

  app.post('/v1/cas/:name/rollback', async (c) => {
    const caller = await requireRightOn(deps, c, 'ca', 'update')
    const kind = kindOf(c)
    body(c, rollbackRequest)
    return answer(c, caller, 'ca.rollback', await rotator.rollback(kind))
  })
}
