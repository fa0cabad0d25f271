/** Reads the configuration from its file, capped before it is parsed. */
import { open } from 'node:fs/promises'
import { hostname } from 'node:os'
import { AppError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { parseAgentConfig, type AgentConfig } from './config.ts'

/** Throws ERR_CONFIG_INVALID or ERR_INPUT_TOO_LARGE, with the path in the message. */
export const loadAgentConfig = async (
  path: string,
  machine: { hostname: string } = { hostname: hostname() },
): Promise<AgentConfig> => parseAgentConfig(await readConfigFile(path), machine)

/** The text of a configuration file; throws as loadAgentConfig. */
export async function readConfigFile(path: string): Promise<string> {
  let file
  try {
    file = await open(path, 'r')
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    const what = missing ? 'does not exist' : 'cannot be read'
    throw new AppError('ERR_CONFIG_INVALID', `the configuration file ${path} ${what}`, { cause })
  }
  try {
    const stat = await file.stat()
    if (!stat.isFile())
      throw new AppError('ERR_CONFIG_INVALID', `the configuration file ${path} is not a file`)
    if (stat.size > LIMITS.configFile.value)
      throw new AppError('ERR_INPUT_TOO_LARGE', `the configuration file ${path} is too large`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}
