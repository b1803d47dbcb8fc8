import type { ServerResponse } from 'node:http'

/** Answers with a JSON document. */
export function answerJson(response: ServerResponse, document: unknown, status = 200): void {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(document))
}
