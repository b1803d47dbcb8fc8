import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: { include: ['test/machines/**/*.test.ts'], setupFiles: ['test/support/golden.ts'] },
})
