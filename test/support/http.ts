import { request as httpRequest } from 'node:http'

export interface Sent {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
}

/** By Node's own client, which sends any header, and any path, that it is told to. */
export function request(url: URL, { method = 'GET', headers = {}, body }: Sent = {}, path?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asking = httpRequest(
      url,
      { method, agent: false, headers, ...(path !== undefined && { path }) },
      (response) => {
        let text = ''
        const { statusCode, headers: answered } = response
        const done = () => resolve({ status: statusCode!, headers: answered, text })
        response.setEncoding('utf8').on('data', (part) => {
          text += part
        })
        response.on('end', done).on('error', done)
      },
    )
    asking.on('error', reject)
    asking.end(body)
  })
}
