// The program of a session daemon, as it is shipped: runs `daemon-code.js`, with what the engine made of it before where that
// is at hand. See docs/decisions/0022.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { constants, Script } from 'node:vm'
import { CodeCache } from './code-cache.ts'

/** Until a daemon that has begun has seen to whoever waited for it. */
const settledMs = 1000

/*
 * How much of a function runs before an optimizing compiler looks at it, in bytes of its code or, in later versions, in calls:
 * several times V8's own. Otherwise what a successor has rehearsed is compiled in the freeze, by a thread that takes the processor
 * from it. See docs/decisions/0024.
 */
const patience = process.versions.node.startsWith('20.')
  ? ['--interrupt-budget=500000']
  : ['--invocation-count-for-maglev=4000', '--invocation-count-for-turbofan=20000']
for (const flag of patience) setFlagsFromString(flag)

const filename = join(import.meta.dirname, 'daemon-code.js')
const source = readFileSync(filename, 'latin1') // the bundler writes no other signs
const at = process.argv.indexOf('--directory')
const cache = at === -1 ? null : new CodeCache(join(process.argv[at + 1] ?? '', 'code'), source)
const cachedData = cache?.read()
const script = new Script(source, {
  filename,
  cachedData,
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
})
if (cachedData === undefined || script.cachedDataRejected === true)
  setTimeout(() => cache?.write(script.createCachedData()), settledMs).unref()
script.runInThisContext()(createRequire(filename), pathToFileURL(filename).href)
