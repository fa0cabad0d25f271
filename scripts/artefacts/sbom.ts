/** The bill of materials of the artefacts (CycloneDX 1.6), from the lockfile: what is in them, in which version, under which hash. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { NATIVES, type Pinned } from './natives.ts'

interface Locked {
  readonly version: string
  readonly integrity?: string
  readonly license?: string
}
interface Component {
  readonly type: 'library' | 'application'
  readonly 'bom-ref': string
  readonly name: string
  readonly version: string
  readonly purl: string
  readonly licenses?: readonly { readonly license: { readonly id: string } }[]
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[]
}

/** Package URL, https://github.com/package-url/purl-spec: the `@` of a scope is encoded. */
const purl = (name: string, version: string): string =>
  `pkg:npm/${name.replace(/^@/, '%40')}@${version}`

function component(pinned: {
  readonly name: string
  readonly version: string
  readonly integrity: string | undefined
  readonly licence: string | undefined
}): Component {
  const id = purl(pinned.name, pinned.version)
  const digest = /^sha512-(.+)$/.exec(pinned.integrity ?? '')?.[1]
  return {
    type: 'library',
    'bom-ref': id,
    name: pinned.name,
    version: pinned.version,
    purl: id,
    ...(pinned.licence === undefined ? {} : { licenses: [{ license: { id: pinned.licence } }] }),
    ...(digest === undefined
      ? {}
      : {
          hashes: [{ alg: 'SHA-512', content: Buffer.from(digest, 'base64').toString('hex') }],
        }),
  }
}

/** RFC 9562 section 5.8: an id that follows from the contents, so that the same contents give the same document. */
function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  const variant = ((Number.parseInt(hex.slice(16, 18), 16) & 0x3f) | 0x80).toString(16)
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(18, 20)}`,
    hex.slice(20, 32),
  ].join('-')
}

/** `paths`: `node_modules/…` of what is bundled, as the lockfile names them. */
export function sbom(paths: readonly string[], version: string): string {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, Locked>
  }
  const shipped = ['node_modules/koffi']
  const bundled = [...new Set([...paths, ...shipped])].map((at) => {
    const locked = lock.packages[at]
    if (!locked) throw new Error(`${at}: is bundled and not in package-lock.json`)
    const name = at.slice(at.lastIndexOf('node_modules/') + 'node_modules/'.length)
    const { integrity, license: licence } = locked
    return component({ name, version: locked.version, integrity, licence })
  })
  const natives = Object.values(NATIVES).flatMap((of): Component[] =>
    Object.values(of).map((pinned: Pinned) => component(pinned)),
  )
  const components = [...bundled, ...natives].sort((a, b) => (a.purl < b.purl ? -1 : 1))
  const root = purl('postern', version)
  const body = {
    metadata: {
      component: { type: 'application', 'bom-ref': root, name: 'postern', version, purl: root },
    },
    components,
    dependencies: [{ ref: root, dependsOn: components.map((c) => c['bom-ref']) }],
  }
  const document = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify(body))}`,
    version: 1,
    ...body,
  }
  return `${JSON.stringify(document, null, 2)}\n`
}
