/** The function `archive`: see deploy-wiring. */
import { archiveHandler } from './deploy-wiring.ts'

export const handler = archiveHandler
