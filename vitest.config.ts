import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 180_000,
    hookTimeout: 60_000,
    // One more than cores, because much of the time is spent waiting for processes and for what is slow on purpose. With
    // more of them the process-level tests only fight each other.
    maxWorkers: 3,
    pool: 'forks',
    reporters: ['default'],
  },
})
