import type { Command as Commander, Option } from 'commander'
import { shellQuoted } from '../shell-quoted.ts'
import type { Command } from './cli.ts'
import { exit } from './cli.ts'

type Shell = 'bash' | 'zsh' | 'fish'

export const completion: Command<[shell: Shell, program: Commander]> = async ({ output }, shell, program) => {
  await output.print(scripts[shell](pointsOf(program)))
  return exit.done
}

/** A place on the command line: the words that led there, and what can follow. */
interface Point {
  readonly path: readonly string[]
  readonly words: readonly { readonly word: string; readonly description: string }[]
  readonly options: readonly Option[]
}

function pointsOf(program: Commander): Point[] {
  const globals = [...program.createHelp().visibleOptions(program)]
  const walk = (command: Commander, path: readonly string[]): Point[] => {
    const help = command.createHelp()
    const commands = help.visibleCommands(command)
    const choices = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices)
    const own = command === program ? [] : help.visibleOptions(command).filter(({ long }) => long !== '--help')
    return [
      {
        path,
        words: [
          ...commands.map((child) => ({ word: child.name(), description: child.description() })),
          ...choices.map((word) => ({ word, description: '' })),
        ],
        options: [...own, ...globals],
      },
      // `help` takes the same words again; nobody completes those.
      ...commands.filter((child) => child.name() !== 'help').flatMap((child) => walk(child, [...path, child.name()])),
    ]
  }
  return walk(program, [])
}

const takesValue = ({ required, optional }: Option) => required || optional

/** Options whose value is the next word, which is then no command. */
function valueOptions(points: readonly Point[]): string[] {
  const flags = points.flatMap(({ options }) => options.filter(takesValue)).flatMap(({ short, long }) => [short, long])
  return [...new Set(flags.filter((flag) => flag !== undefined))]
}

const pathOf = ({ path }: Point) => path.join(' ')
const flagsOf = ({ options }: Point) => options.map(({ long, short }) => long ?? short!)

const scripts: Record<Shell, (points: readonly Point[]) => string> = { bash, zsh, fish }

function bash(points: readonly Point[]): string {
  const places = points.map(quotedPath).join('|')
  const cases = points.map((point) => {
    const words = point.words.map(({ word }) => word).join(' ')
    return `    ${quotedPath(point)}) words=${shellQuoted(words)} options=${shellQuoted(flagsOf(point).join(' '))} ;;`
  })
  return `# bash completion for instar; use it with: source <(instar completion bash)
_instar() {
  local current=\${COMP_WORDS[COMP_CWORD]} place='' words='' options='' word index
  case \${COMP_WORDS[COMP_CWORD-1]} in
    --home) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    --config) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    ${valueOptions(points).join('|')}) COMPREPLY=(); return ;;
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case $word in
      --) COMPREPLY=(); return ;;
      ${valueOptions(points).join('|')}) ((index++)) ;;
      -*) ;;
      *) case "\${place:+$place }$word" in ${places}) place="\${place:+$place }$word" ;; esac ;;
    esac
  done
  case $place in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then words=$options; fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _instar instar
`
}

function zsh(points: readonly Point[]): string {
  const described = (word: string, description: string) => shellQuoted(`${word}:${description.replaceAll(':', '\\:')}`)
  const cases = points.map((point) => {
    const words = point.words.map(({ word, description }) => described(word, description)).join(' ')
    const options = point.options.map((option) => described(option.long ?? option.short!, option.description)).join(' ')
    return `    ${quotedPath(point)}) found=(${words}) options=(${options}) ;;`
  })
  return `#compdef instar
# zsh completion for instar; use it with: source <(instar completion zsh)
_instar() {
  local place='' word index
  local -a found options
  case \${words[CURRENT-1]} in
    --home) _files -/; return ;;
    --config) _files; return ;;
    ${valueOptions(points).join('|')}) return ;;
  esac
  for ((index = 2; index < CURRENT; index++)); do
    word=\${words[index]}
    case $word in
      --) return ;;
      ${valueOptions(points).join('|')}) ((index++)) ;;
      -*) ;;
      *) case "\${place:+$place }$word" in ${points.map(quotedPath).join('|')}) place="\${place:+$place }$word" ;; esac ;;
    esac
  done
  case $place in
${cases.join('\n')}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then _describe option options; else _describe command found; fi
}
compdef _instar instar
`
}

function fish(points: readonly Point[]): string {
  const lines = points.flatMap((point) => {
    const here = `complete -c instar -n ${shellQuoted(`test (__instar_place) = ${quotedForFish(pathOf(point))}`)}`
    return [
      ...point.words.map(({ word, description }) => `${here} -a ${shellQuoted(word)} -d ${shellQuoted(description)}`),
      ...point.options.map((option) => {
        const names = [option.long && `-l ${option.long.slice(2)}`, option.short && `-s ${option.short.slice(1)}`]
        const value = !takesValue(option) ? '' : /<(dir|file)>/.test(option.flags) ? ' -r -F' : ' -x'
        return `${here} ${names.filter(Boolean).join(' ')}${value} -d ${shellQuoted(option.description)}`
      }),
    ]
  })
  return `# fish completion for instar; use it with: instar completion fish | source
function __instar_place
  set -l place ''
  set -l skip 0
  for word in (commandline -opc)[2..-1]
    if test $skip = 1
      set skip 0
    else if contains -- $word ${valueOptions(points).join(' ')}
      set skip 1
    else if not string match -q -- '-*' $word
      set -l deeper (string trim -- "$place $word")
      if contains -- $deeper ${points.map(quotedPath).join(' ')}
        set place $deeper
      end
    end
  end
  echo "$place"
end
complete -c instar -f
${lines.join('\n')}
`
}

function quotedPath(point: Point): string {
  return shellQuoted(pathOf(point))
}

/** Inside a condition that is itself in single quotes, where an empty word has to stay one. */
function quotedForFish(text: string): string {
  return `"${text}"`
}
