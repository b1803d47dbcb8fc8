import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { InstarError } from '../errors.ts'
import { type Area, Refused } from '../http/route.ts'
import { shippedFile } from '../package-info.ts'
import { absent } from '../releases/absent.ts'

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
}

const notBuilt = 'The console is not built in this installation. Build it: npm run build\n'

/** The files that the console is in a browser. */
export function pageArea(): Area {
  const methods = ['GET', 'HEAD']
  return {
    routes: [
      {
        path: /^\/$/,
        methods,
        async handle(_, response) {
          const page = await fileOf('index.html')
          response.writeHead(page === null ? 503 : 200, { 'Content-Type': types[page === null ? '.txt' : '.html'] })
          response.end(page ?? notBuilt)
        },
      },
      {
        // One name, which cannot lead anywhere else.
        path: /^\/assets\/([\w-][\w.-]{0,127})$/,
        methods,
        async handle(_, response, [name = '']) {
          const file = await fileOf(`assets/${name}`)
          if (file === null) throw new Refused(404, new InstarError('HTTP_UNKNOWN', 'there is nothing here'))
          response.writeHead(200, {
            'Content-Type': types[extname(name)] ?? 'application/octet-stream',
            // Their names change with what is in them.
            'Cache-Control': 'public, max-age=31536000, immutable',
          })
          response.end(file)
        },
      },
    ],
  }
}

const fileOf = (name: string): Promise<Buffer | null> => readFile(shippedFile(`dist/console/${name}`)).catch(absent)
