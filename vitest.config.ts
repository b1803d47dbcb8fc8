import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Takes the longest first, so that no worker begins with one of them when all others have ended. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isLong = ({ moduleId }: TestSpecification) =>
      /\/scenarios\/(plugins-\w[\w-]*|plugin-swaps|runtime|sessions-upgrade)\.test\.ts$|\/crash\/(runtime-launch|plugins|plugin-upload-cuts)\.test\.ts$/.test(
        moduleId,
      )
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))]
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/lean-environment.ts'],
    // A hang is to be found, and a slow machine is none.
    testTimeout: 600_000,
    // What a machine lacks is installed before the first test that needs it, by one after the other.
    hookTimeout: 300_000,
    // One more than cores, because much of the time is spent waiting for processes and for what is slow on purpose. With
    // more of them the process-level tests only fight each other.
    maxWorkers: 3,
    pool: 'forks',
    reporters: ['default'],
    sequence: { sequencer: LongestFirst },
  },
})
