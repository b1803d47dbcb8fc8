import type { jsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/types.js'

/**
 * What an app answers is judged by whoever asked, and not on the way. The SDK's own judge is made anew for each process and
 * each client: more than 10 ms in which no call of another app gets on.
 */
export const judgesNothing: jsonSchemaValidator = {
  getValidator() {
    throw new Error('nothing is judged here')
  },
}
