/** The function `declare`: see deploy-wiring. */
import { declareHandler } from './deploy-wiring.ts'

export const handler = declareHandler
