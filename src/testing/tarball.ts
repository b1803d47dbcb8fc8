import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'

/** One header of a tar archive and what follows it. Written as given: this is for archives that no sane tool makes. */
export interface TarEntry {
  /** As it stands in the archive, `package/` included. More than 100 bytes go into a pax header. */
  readonly path: string
  readonly content?: string | Uint8Array
  /** One letter as in ustar: `0` file (default), `1` hard link, `2` symlink, `3` and `4` devices, `5` directory, `6` FIFO. */
  readonly type?: string
  readonly linkpath?: string
  readonly mode?: number
}

/** The hostile trees that `hostileTree` makes. */
export type HostileTree =
  | 'bomb'
  | 'many-files'
  | 'symlink'
  | 'hard-link'
  | 'parent-path'
  | 'absolute-path'
  | 'drive-letter'
  | 'backslash'
  | 'device'
  | 'fifo'
  | 'case-collision'
  | 'file-as-directory'
  | 'duplicate'
  | 'control-character'
  | 'deep-path'
  | 'reserved-name'
  | 'set-uid'
  | 'wrong-name'
  | 'wrong-version'
  | 'no-manifest'
  | 'broken-manifest'

/** A gzipped tar archive of exactly these entries, in this order. Two calls with the same entries give the same bytes. */
export function tarball(entries: Iterable<TarEntry>): Buffer {
  const blocks: Uint8Array[] = []
  for (const entry of entries) blocks.push(...encode(entry))
  blocks.push(new Uint8Array(1024))
  // Speed over size: what is measured here is never the compression.
  return gzipSync(Buffer.concat(blocks), { level: 1 })
}

/**
 * The entries of a package that is wrong in one way. `set-uid` is the exception: it must unpack, without the bit.
 *
 * `bomb` is 64 MiB of zeros in 300 KB, and `many-files` 100 000 empty files; building either takes about a second.
 */
export function hostileTree(kind: HostileTree, name: string, version: string): TarEntry[] {
  const manifest = (more: object = {}): TarEntry => ({
    path: 'package/package.json',
    content: JSON.stringify({ name, version, ...more }),
  })
  const tree = (...entries: TarEntry[]) => [manifest(), { path: 'package/index.js', content: '1' }, ...entries]
  switch (kind) {
    case 'bomb':
      return tree({ path: 'package/zeros', content: new Uint8Array(64 * 1024 * 1024) })
    case 'many-files': {
      // Random names, so that this is refused for the number of files and not for how well they compress.
      const names = randomBytes(100_000 * 16).toString('hex')
      return tree(
        ...Array.from({ length: 100_000 }, (_, at) => ({ path: `package/${names.slice(at * 32, at * 32 + 32)}` })),
      )
    }
    case 'symlink':
      return tree({ path: 'package/link', type: '2', linkpath: '/etc/passwd' })
    case 'hard-link':
      return tree({ path: 'package/link', type: '1', linkpath: 'package/index.js' })
    case 'parent-path':
      return tree({ path: 'package/../../outside.txt', content: 'out' })
    case 'absolute-path':
      return tree({ path: '/tmp/instar-outside.txt', content: 'out' })
    case 'drive-letter':
      return tree({ path: 'c:/package/outside.txt', content: 'out' })
    case 'backslash':
      return tree({ path: 'package/..\\..\\outside.txt', content: 'out' })
    case 'device':
      return tree({ path: 'package/null', type: '3' })
    case 'fifo':
      return tree({ path: 'package/pipe', type: '6' })
    case 'case-collision':
      return tree({ path: 'package/Index.js', content: '2' })
    case 'file-as-directory':
      return tree({ path: 'package/index.js/inside.js', content: '2' })
    case 'duplicate':
      return tree({ path: 'package/index.js', content: '2' })
    case 'control-character':
      return tree({ path: 'package/a\nb.js', content: '2' })
    case 'deep-path':
      return tree({ path: `package/${'d/'.repeat(100)}file.js`, content: '2' })
    case 'reserved-name':
      return tree({ path: 'package/.complete', content: 'trust me' })
    case 'set-uid':
      return tree({ path: 'package/tool', content: '#!/bin/sh\n', mode: 0o6777 })
    case 'wrong-name':
      return [manifest({ name: `${name}-other` })]
    case 'wrong-version':
      return [manifest({ version: '99.0.0' })]
    case 'no-manifest':
      return [{ path: 'package/index.js', content: '1' }]
    case 'broken-manifest':
      return [{ path: 'package/package.json', content: '{"name":' }]
  }
}

function encode(entry: TarEntry): Uint8Array[] {
  const content = Buffer.from(entry.content ?? '')
  const longPath = Buffer.byteLength(entry.path) > 100
  const pax = longPath ? encode({ path: 'PaxHeader', type: 'x', content: paxRecord('path', entry.path) }) : []
  if (content.length === 0) return [...pax, header(entry, 0)]
  return [...pax, header(entry, content.length), content, new Uint8Array((512 - (content.length % 512)) % 512)]
}

/** `LENGTH key=value LF`, where LENGTH counts its own digits too (POSIX.1-2001, pax extended header). */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = Buffer.byteLength(rest)
  while (length !== Buffer.byteLength(`${length}${rest}`)) length = Buffer.byteLength(`${length}${rest}`)
  return `${length}${rest}`
}

/** A ustar header (POSIX.1-1988): fixed fields in octal, and a checksum over the header with its own field as blanks. */
function header({ path, type = '0', linkpath = '', mode = 0o644 }: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(512)
  const octal = (value: number, length: number) => value.toString(8).padStart(length - 1, '0')
  block.write(path, 0, 100, 'utf8')
  block.write(octal(mode, 8), 100)
  block.write(octal(0, 8), 108)
  block.write(octal(0, 8), 116)
  block.write(octal(size, 12), 124)
  block.write(octal(499162500, 12), 136) // the moment npm stamps on every file, for equal bytes every time
  block.fill(' ', 148, 156)
  block.write(type, 156)
  block.write(linkpath, 157, 100, 'utf8')
  block.write('ustar\u000000', 257, 'latin1')
  let checksum = 0
  for (const byte of block) checksum += byte
  block.write(`${octal(checksum, 7)}\0 `, 148, 'latin1')
  return block
}
