// Makes programs of compiled modules and all that they import, because hundreds of modules take longer to find and read than
// to run. Part of the build; see docs/decisions/0010.
//
//   dist/daemon.js   the session daemon: one file, which starts in half the time and takes 10 MB less memory
//   dist/cli.js      the command line: in parts, so that each command reads what it needs
//
//   node scripts/bundle-programs.mjs [FOLDER OF A BUILT PACKAGE]
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const absWorkingDir = process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url))

/** @type {import('esbuild').BuildOptions} */
const common = {
  absWorkingDir,
  bundle: true,
  minifySyntax: true,
  minifyWhitespace: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  // Packages of CommonJS want to `require`.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  logLevel: 'error',
}

// These are compiled for a machine, and found by their place.
const compiled = ['fs-native-extensions', 'node-pty']

await build({
  ...common,
  entryPoints: ['dist/src/sessions/daemon-main.js'],
  outfile: 'dist/daemon.js',
  external: compiled,
})

const dist = join(absWorkingDir, 'dist')
for (const name of readdirSync(dist)) if (name.startsWith('cli-')) rmSync(join(dist, name))
await build({
  ...common,
  entryPoints: [{ in: 'dist/src/cli/main.js', out: 'cli' }],
  outdir: 'dist',
  splitting: true,
  // Beside it, because what looks for files of the package does so from its own place on.
  chunkNames: 'cli-[name]-[hash]',
  // Large, and read by few commands.
  external: [...compiled, '@modelcontextprotocol/*', 'ajv', 'ajv-formats'],
})
