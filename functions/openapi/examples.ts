/**
 * Examples for the OpenAPI document: what the API's own tests send and are answered (examples.json, written by
 * `npm run openapi`, held to the API by test/api/openapi-examples.test.ts), and each call as a line of curl.
 */
import examples from './examples.json' with { type: 'json' }

export interface Example {
  /** With real parameters in place of `{name}`. */
  readonly url: string
  /** One for each form that the body has. */
  readonly bodies?: readonly unknown[]
  readonly answer?: unknown
}
export const EXAMPLES: Readonly<Record<string, Example | undefined>> = examples

/** `'` ends a text of the shell, so it is written outside of it. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** The call as a line that can be pasted; `$API` is the address, `$KEY` an API key. */
export function curlOf(
  method: string,
  { url, bodies }: Example,
  how: { readonly bearer: boolean; readonly signed: boolean },
): string {
  const first = bodies?.[0]
  const parts = [
    'curl -sS',
    ...(method === 'get' || (method === 'post' && first !== undefined)
      ? []
      : [`-X ${method.toUpperCase()}`]),
    ...(how.bearer ? ['-H "authorization: Bearer $KEY"'] : []),
    // Only a program can make it: it is a signature over this very call.
    ...(how.signed ? ['-H "authorization: Postern $JWS"'] : []),
    ...(first === undefined
      ? []
      : ["-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(first))}`]),
    `"$API${url}"`,
  ]
  return parts.join(' ')
}
