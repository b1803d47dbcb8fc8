import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import type { Ground } from './grounds.ts'

/** What becomes of steps, by number; the first one after the order is 1. */
interface Order {
  /** Not even begun, and it is said so. */
  readonly refused?: readonly number[]
  /** Done in another folder, and said to be done. */
  readonly elsewhere?: readonly number[]
}

/**
 * Stands between a controller and a place on a ground, and does to its steps what it is told. On this machine the place is
 * one behind a command, since there is nothing to stand in between else. Disposing it restores the PATH.
 */
export class GoBetween implements AsyncDisposable {
  private constructor(
    private readonly directory: string,
    readonly target: string,
    /** The folder that loaders read, and the other one, as the test sees them. */
    readonly folder: string,
    readonly other: string,
    private readonly path: string | undefined,
  ) {}

  /** @param directory Of the host; what it needs comes into the folder `between` in here. */
  static async make(ground: Ground, directory: string): Promise<GoBetween> {
    const place = await ground.place()
    const folder = place.folder ?? join(directory, 'far')
    const between = join(directory, 'between')
    await mkdir(between)
    const { PATH } = process.env
    const { sshd, container } = ground
    const there = container === null ? folder : folder.slice(container.root.length)
    const program = join(between, 'ssh')
    await writeFile(program, script(between, there, sshd === null ? '' : `'${join(sshd.bin, 'ssh')}'`), { mode: 0o755 })
    if (sshd !== null) process.env.PATH = `${between}${delimiter}${PATH}`
    const words = [program, ...(container?.prefix ?? [])].join(' ')
    const target = sshd === null ? `exec:${words}#${there}` : place.target!
    const made = new GoBetween(between, target, folder, `${folder}-elsewhere`, PATH)
    await made.spoil({})
    return made
  }

  async spoil({ refused = [], elsewhere = [] }: Order): Promise<void> {
    const order = `count=0\nrefused=" ${refused.join(' ')} "\nelsewhere=" ${elsewhere.join(' ')} "\n`
    await writeFile(join(this.directory, 'order'), order)
  }

  /** How many steps there were since the order. */
  async steps(): Promise<number> {
    return Number(/^count=(\d+)/.exec(await readFile(join(this.directory, 'order'), 'utf8'))![1])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.env.PATH = this.path
  }
}

const script = (between: string, folder: string, ssh: string) => `#!/bin/sh
case " $* " in *" -G "* | *" -O "*) exec ${ssh} "$@" ;; esac
. '${between}/order'
count=$((count + 1))
printf 'count=%s\\nrefused="%s"\\nelsewhere="%s"\\n' "$count" "$refused" "$elsewhere" > '${between}/order'
case $refused in *" $count "*) echo "step $count is refused" >&2; exit 1 ;; esac
case $elsewhere in *" $count "*)
  words=$#
  while [ "$words" -gt 0 ]; do
    word=$1
    shift
    case $word in *'${folder}'*) word=$(printf '%s' "$word" | sed 's#${folder}#&-elsewhere#g') ;; esac
    set -- "$@" "$word"
    words=$((words - 1))
  done ;;
esac
exec ${ssh} "$@"
`
