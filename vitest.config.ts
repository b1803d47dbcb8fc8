import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 180_000,
    hookTimeout: 60_000,
    // Two cores: more workers only make the process-level tests fight each other.
    maxWorkers: 2,
    pool: 'forks',
    reporters: ['default'],
  },
})
