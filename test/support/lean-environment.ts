import { expect } from 'vitest'

// Every Node process reads this file of certificates when it starts, and with a system's whole list that takes as long as
// all else. It is left to those that speak to the real registry, which the tests start thousands of others beside.
const speaksToTheRegistry = /\/test\/e2e\/|\/real-\w+\.test\.ts$/
if (!speaksToTheRegistry.test(expect.getState().testPath ?? '')) delete process.env.NODE_EXTRA_CA_CERTS
