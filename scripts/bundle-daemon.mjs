// Makes one file of the session daemon's program and all that it imports: dist/daemon.js. It starts in half the time and
// takes 10 MB less memory than the same code in some 160 modules. Part of the build; see docs/decisions/0010.
//
//   node scripts/bundle-daemon.mjs [FOLDER OF A BUILT PACKAGE]
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

await build({
  absWorkingDir: process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)),
  entryPoints: ['dist/src/sessions/daemon-main.js'],
  outfile: 'dist/daemon.js',
  bundle: true,
  minifySyntax: true,
  minifyWhitespace: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  // These are compiled for a machine, and found by their place.
  external: ['fs-native-extensions', 'node-pty'],
  // Packages of CommonJS want to `require`.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  logLevel: 'error',
})
