// Makes programs of compiled modules and all that they import, because hundreds of modules take longer to find and read than
// to run. Part of the build; see docs/decisions/0010.
//
//   dist/daemon.cjs       the session daemon: one file, which starts in half the time and takes 10 MB less memory. It reads
//   dist/daemon-code.js   this, a script that is a function, and keeps what the engine makes of it
//   dist/cli.js           the command line: in parts, so that each command reads what it needs
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
  logLevel: 'error',
}

// These are compiled for a machine, and found by their place.
const compiled = ['fs-native-extensions', 'node-pty']

await build({
  ...common,
  format: 'cjs',
  entryPoints: ['dist/src/sessions/daemon-loader.js'],
  outfile: 'dist/daemon.cjs',
  define: { 'import.meta.dirname': '__dirname' },
})
await build({
  ...common,
  format: 'cjs',
  entryPoints: ['dist/src/sessions/daemon-main.js'],
  outfile: 'dist/daemon-code.js',
  external: compiled,
  define: { 'import.meta.url': 'url' },
  banner: { js: '(require, url) => {' },
  footer: { js: '}' },
})

const dist = join(absWorkingDir, 'dist')
for (const name of readdirSync(dist)) if (name.startsWith('cli-')) rmSync(join(dist, name))
await build({
  ...common,
  format: 'esm',
  // Packages of CommonJS want to `require`.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  entryPoints: [{ in: 'dist/src/cli/main.js', out: 'cli' }],
  outdir: 'dist',
  splitting: true,
  // Beside it, because what looks for files of the package does so from its own place on.
  chunkNames: 'cli-[name]-[hash]',
  // Large, and read by few commands.
  external: [...compiled, '@modelcontextprotocol/*', 'ajv', 'ajv-formats'],
})
