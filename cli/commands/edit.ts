/** `postern edit KIND/NAME`: the resource in an editor, then back. Nothing is sent when nothing was changed or the file is empty. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { stringify } from 'yaml'
import { AppError, badField, isAppError } from '../../core/errors.ts'
import { LIMITS } from '../../core/limits.ts'
import { withClient, type Client } from '../client.ts'
import type { Cli } from '../cli.ts'
import type { ProfileOptions } from '../host.ts'
import { DOCUMENTS, EDITABLE, parseResource, pathOf } from '../resource-names.ts'
import { HintedError, usage } from '../ui/report.ts'
import { parseDocuments } from './create.ts'

/** As git does: through the shell, so that `code --wait` works, with the file as an argument of its own. */
function runEditor(editor: string, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('sh', ['-c', `${editor} "$1"`, 'sh', file], { stdio: 'inherit' })
    child.on('error', (cause) => reject(new AppError('ERR_USAGE', `${editor}: ${cause.message}`)))
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(usage(`the editor ended with ${code}; nothing was changed`)),
    )
  })
}

type Kind = (typeof EDITABLE)[number]

/** As `get` prints it: without what only the server fills in. */
async function shown(client: Client, kind: Kind, name: string): Promise<string> {
  const found: object = await client.get(DOCUMENTS[kind], pathOf(kind, name))
  const file = Object.entries(found).filter(([key]) => key !== 'status')
  return stringify(Object.fromEntries(file))
}

async function send(client: Client, kind: Kind, name: string, text: string): Promise<void> {
  const [document, ...more] = parseDocuments(text)
  if (!document || more.length > 0) throw badField('(document)', 'keep one document')
  if (document.kind !== kind || document.metadata?.name !== name)
    throw badField('metadata.name', `this is ${kind}/${name}; make another with postern create -f`)
  await client.api.request('PUT', pathOf(kind, name), document)
}

export async function edit(cli: Cli, what: string, options: ProfileOptions): Promise<void> {
  const { kind: given, name } = parseResource(what)
  const kind = EDITABLE.find((k) => k === given)
  if (kind === undefined || name === undefined)
    throw usage(`edit: name one ${EDITABLE.join(', ')}, as role/dev`)
  const editor = cli.env.editor ?? 'vi'
  await withClient(cli, options, async (client) => {
    const before = await shown(client, kind, name)
    const dir = await mkdtemp(path.join(tmpdir(), 'postern-edit-'))
    const file = path.join(dir, `${kind}-${name.replaceAll(/[^A-Za-z0-9._-]/g, '_')}.yaml`)
    await writeFile(file, before, { mode: 0o600 })
    await runEditor(editor, file)
    const after = await readFile(file, 'utf8')
    if (after === before || after.trim() === '') {
      await rm(dir, { recursive: true, force: true })
      return cli.note(`${kind}/${name} is unchanged`)
    }
    try {
      if (after.length > LIMITS.resourceDocument.value)
        throw new AppError('ERR_INPUT_TOO_LARGE', `${file} is too large`)
      if ((await shown(client, kind, name)) !== before)
        throw new AppError('ERR_CONFLICT', `${kind}/${name} was changed by somebody meanwhile`)
      await send(client, kind, name, after)
    } catch (e) {
      // What somebody typed is not lost for a typing mistake.
      if (!isAppError(e)) throw e
      throw new HintedError(e, `your text is in ${file}; postern create -f applies it`)
    }
    await rm(dir, { recursive: true, force: true })
    cli.out(`${kind}/${name} applied`)
  })
}
