import { readFile } from 'node:fs/promises'
import { InstarError } from '../errors.ts'
import { shippedFile } from '../package-info.ts'

/**
 * The drawing of a machine, as SVG. Drawn when the package was built, since to lay it out takes seconds.
 *
 * @param name Of a machine of this package: it becomes part of a path.
 * @throws {InstarError} `DIAGRAM_MISSING`
 */
export async function drawingOf(name: string): Promise<string> {
  return readFile(shippedFile(`diagrams/${name}.svg`), 'utf8').catch((cause) => {
    throw new InstarError('DIAGRAM_MISSING', `there is no drawing of ${name}`, { cause })
  })
}
