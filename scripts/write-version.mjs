// `npm version` runs this: the version in package.json is the one that the code says of itself.
import { readFileSync, writeFileSync } from 'node:fs'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const file = new URL('../src/package-version.ts', import.meta.url)
writeFileSync(file, readFileSync(file, 'utf8').replace(/'.*'/, `'${version}'`))
