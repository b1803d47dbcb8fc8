import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Takes the longest first, so that no worker begins with one of them when all others have ended. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isLong = ({ moduleId }: TestSpecification) =>
      /\/scenarios\/(plugin|runtime|sessions-upgrade)|\/crash\/(daemon-handoff|faulty-disk|plugins-over|runtime)/.test(
        moduleId,
      )
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))]
  }
}

/** What `npm run test:long` runs: kill matrices, and scenarios that others repeat in another place or a thousand times. */
const long = ['test/**/*.long.test.ts']

export default defineConfig({
  test: {
    setupFiles: ['test/support/lean-environment.ts'],
    // A hang is to be found, and a slow machine is none.
    testTimeout: 600_000,
    expect: { poll: { timeout: 90_000 } },
    // What a machine lacks is installed before the first test that needs it, by one after the other.
    hookTimeout: 300_000,
    // One more than cores, because much of the time is spent waiting for processes and for what is slow on purpose. With
    // more of them the process-level tests only fight each other.
    maxWorkers: 3,
    pool: 'forks',
    reporters: ['default'],
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'daily', include: ['test/**/*.test.ts'], exclude: long } },
      { extends: true, test: { name: 'long', include: long } },
    ],
  },
})
