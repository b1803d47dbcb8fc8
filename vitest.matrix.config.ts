import { defineConfig } from 'vitest/config'

// The kill matrices over session daemons. Minutes each, and not yet steady on a busy machine, so not part of `npm test`.
export default defineConfig({
  test: {
    include: ['test/**/*.matrix.ts'],
    testTimeout: 900_000,
    maxWorkers: 1,
    pool: 'forks',
    reporters: ['default'],
  },
})
