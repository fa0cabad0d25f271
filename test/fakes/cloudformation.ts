/** AWS CloudFormation as far as DescribeStacks goes: the Query protocol over HTTP, signatures verified, one stack. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { verifySigV4, type KeyHolder } from '../support/aws/sigv4.ts'

export interface FakeCloudFormation {
  readonly url: string
  close(): Promise<void>
}

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
const error = (code: string, message: string): string =>
  `<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${escape(message)}</Message></Error><RequestId>r</RequestId></ErrorResponse>`

export async function fakeCloudFormation(options: {
  readonly callers: ReadonlyMap<string, KeyHolder>
  readonly stack: string
  readonly outputs: Readonly<Record<string, string>>
}): Promise<FakeCloudFormation> {
  const outputs = Object.entries(options.outputs)
    .map(
      ([key, value]) =>
        `<member><OutputKey>${key}</OutputKey><OutputValue>${escape(value)}</OutputValue></member>`,
    )
    .join('')
  const described = `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>${options.stack}</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-11-26T00:00:00Z</CreationTime><Outputs>${outputs}</Outputs></member></Stacks></DescribeStacksResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DescribeStacksResponse>`
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts)
      const answer = (status: number, text: string) =>
        response.writeHead(status, { 'content-type': 'text/xml' }).end(text)
      const signed = verifySigV4(request, body, options.callers, 'cloudformation')
      if (!signed.ok) return answer(403, error(signed.code, 'The request is not signed'))
      const form = new URLSearchParams(body.toString('utf8'))
      if (form.get('Action') !== 'DescribeStacks') return answer(400, error('InvalidAction', '?'))
      const name = form.get('StackName') ?? ''
      if (name !== options.stack)
        return answer(400, error('ValidationError', `Stack with id ${name} does not exist`))
      return answer(200, described)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
