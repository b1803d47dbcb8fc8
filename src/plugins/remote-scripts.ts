/**
 * The steps on a target that is reached through a shell: POSIX `sh`, no bashisms, arguments only as `$1` and on. Wanted
 * there beside what POSIX has: `tar`, `readlink`, `sync`, one of `openssl`, `sha256sum` and `shasum`, and a `mv` that replaces
 * a symlink (`-T`), as GNU, BusyBox and toybox have.
 *
 * What a script prints
 *
 *   instar 1          first line; whatever a login prints comes before it
 *   KEY VALUE         lines, by script; a key that ends in `:` is followed by that many bytes and a line end; `sealed` by
 *                     the name of a tree, `/.complete:` and a line of its seal
 *   fail KIND TEXT    what kept it from going on; nothing follows. `unsupported`: a tool is missing; `foreign`: TEXT is a path
 *                     that something else has; `damaged`: what arrived is not what was sent; `broken`: TEXT did not work
 *   end               last line of an answer that is whole
 */
const prelude = `
set -u
umask 022
LC_ALL=C
export LC_ALL
unset CDPATH
say() { printf "%s\\n" "$*"; }
fail() { say "fail $*"; exit 1; }
flush() {
  # Asked for its options, so that what goes wrong with -f is never taken for not knowing it.
  case $(sync --help 2>&1) in
    *-f*) sync -f "$1" ;;
    *) sync ;;
  esac
}
# The first that works. openssl is the only one to ask the processor for help.
find_hasher() {
  for hasher in "openssl dgst -sha256 -r" sha256sum "shasum -a 256"; do
    case $($hasher </dev/null 2>/dev/null) in e3b0c44298fc1c149afbf4c8996fb924*) return ;; esac
  done
  fail unsupported "there is no openssl, sha256sum or shasum that works"
}

block() {
  [ -f "$2" ] && [ ! -L "$2" ] || return 0
  size=$(wc -c < "$2") && [ "$((size))" -le "$3" ] || return 0
  text=$(cat "$2") || return 0
  size=$(printf "%s" "$text" | wc -c)
  say "$1: $((size))"
  printf "%s\\n" "$text"
}

# In one walk. -exec with + is always true, so a file that is hashed is then looked at for what its owner may do. In
# parentheses BusyBox would forget it.
report() (
  cd "$1" || exit
  find . -type f ! -path ./.complete -exec $hasher {} + -perm -100 -exec sh -c 'printf "x %s\\n" "$@"' x {} + \\
    -o -type d ! -name . -exec sh -c 'printf "d %s\\n" "$@"' d {} + \\
    -o ! -type f ! -type d -exec sh -c 'printf "o %s\\n" "$@"' o {} + |
    sed "s/^\\([0-9a-f]\\{64\\}\\) [*]/\\1  /" | sort
)

digest_of() {
  sum=$(report "$1" | $hasher) && say "\${sum%% *}"
}

sweep() {
  count=0
  for left in "$1/.staging-$2-"* "$1/.link-$2-"*; do
    [ -e "$left" ] || [ -L "$left" ] || continue
    count=$((count + 1))
    trash="$1/.staging-$2-trash-$$-$count"
    mv "$left" "$trash" && rm -rf "$trash" && say "swept \${left##*/}"
  done
}

link() {
  if [ -L "$2" ]; then say "$1 $(readlink "$2")"
  elif [ -e "$2" ]; then say "$1-foreign"
  fi
}

shelf() {
  if [ -L "$1" ]; then
    # Another home may swap in between; then it is asked again, so that both answers are about one moment.
    while :; do
      text=$(readlink "$1")
      leads=$(cd -P "$1" 2>/dev/null && pwd -P)
      [ "$(readlink "$1")" != "$text" ] || break
    done
    say "live $text"
    say "leads $leads"
    say "under $(cd -P "$2" 2>/dev/null && pwd -P)"
  else
    link live "$1"
  fi
  link previous "$2/previous"
  for tree in "$2"/[0-9]*; do
    [ -d "$tree" ] && [ ! -L "$tree" ] && say "tree \${tree##*/}"
  done
  seals "$2"
}

# All in one go, because where processes are dear three for each tree are most of what a step takes. With a second file
# grep says which one a line is of.
seals() (
  cd "$1" 2>/dev/null || return 0
  find [0-9]*/.complete -type f -size -9 -exec grep "" /dev/null {} + 2>/dev/null | sed "s/^/sealed /"
)

tree() {
  say "content $1"
  block seal "$2/.complete" 4096
  block manifest "$2/package.json" 1048576
  report "$2" | sed "s/^/r /"
}

say "instar 1"
`

const script = (body: string) => `${prelude.trim()}\n${body.trim()}\nsay end\n`

/** ROOT: the folders that are shelves. Prints `shelf NAME` lines. */
export const namesScript = script(`
for folder in "$1"/.instar/*; do
  [ -d "$folder" ] && say "shelf \${folder##*/}"
done
`)

/** ROOT (LIVE SHELF)…: what is on each, below the root. Prints `plugin`, and after it what there is of it. */
export const shelvesScript = script(`
root=$1
shift
while [ $# -ge 2 ]; do
  say plugin
  shelf "$root/$1" "$root/$2"
  shift 2
done
`)

/** LIVE SHELF: what is on one shelf, where all is there that the other steps need. */
export const shelfScript = script(`
for tool in cat chmod find grep ln mkdir mv readlink rm sed sort sync tar wc; do
  command -v "$tool" >/dev/null 2>&1 || fail unsupported "there is no $tool"
done
command -v openssl >/dev/null 2>&1 || command -v sha256sum >/dev/null 2>&1 || command -v shasum >/dev/null 2>&1 ||
  fail unsupported "there is no openssl, sha256sum or shasum"
case $(mv --help 2>&1) in
  *-T*) ;;
  *) fail unsupported "its mv cannot replace a symlink in one step" ;;
esac
shelf "$1" "$2"
`)

/** SHELF FOLDER…: what is in these trees, byte for byte. Prints `content NAME`, and after it what there is. */
export const readScript = script(`
shelf=$1
shift
find_hasher
for folder; do
  [ ! -d "$shelf/$folder/." ] || tree "$folder" "$shelf/$folder"
done
`)

/** SHELF OWNER TAG STAGING STEM EXPECTED DIGEST SEAL, and a tar archive: puts a tree there. Prints `folder NAME`. */
export const putScript = script(`
shelf=$1 owner=$2 tag=$3 staging=$4 stem=$5 expected=$6 digest=$7 seal=$8
find_hasher
mkdir -p "$shelf" || fail broken "the shelf cannot be made"
sweep "$shelf" "$tag" >/dev/null
is_whole() {
  grep -F "\\"$digest\\"" "$1/.complete" 2>/dev/null | grep -qF "\\"$owner\\"" || return 1
  [ "$(digest_of "$1")" = "$expected" ]
}
take() {
  say "folder \${1##*/}"
  say end
  exit 0
}
attempt=0 place=$shelf/$stem
choose() {
  while [ -e "$place" ] || [ -L "$place" ]; do
    is_whole "$place" && take "$place"
    attempt=$((attempt + 1))
    place=$shelf/$stem.$attempt
  done
}
choose
mkdir "$staging" || fail broken "the tree cannot be staged"
tar -x -o -f - -C "$staging" || fail broken "the tree cannot be unpacked"
find "$staging" ! -type l ! -perm 755 \\( -type d -o ! -perm 644 \\) -exec chmod u+rwX,go=rX {} + ||
  fail broken "the tree cannot be opened to its readers"
flush "$staging" &
flushing=$!
[ "$(digest_of "$staging")" = "$expected" ] || fail damaged
wait "$flushing" || fail broken "the tree cannot be flushed"
printf "%s\\n" "$seal" > "$staging/.complete" || fail broken "the seal cannot be written"
until mv -T "$staging" "$place" 2>/dev/null; do
  [ -e "$place" ] || fail broken "the tree cannot be put in its place"
  choose
done
flush "$shelf" || fail broken "the shelf cannot be flushed"
take "$place"
`)

/** SHELF PATH DRAFT FOLDER TEXT: lets the symlink at PATH say TEXT; with no FOLDER, removes it. */
export const pointScript = script(`
shelf=$1 path=$2 draft=$3 folder=$4 text=$5
if [ -e "$path" ] && [ ! -L "$path" ]; then fail foreign "$path"; fi
if [ -z "$folder" ]; then
  rm -f "$path" || fail broken "the symlink cannot be removed"
else
  [ -d "$shelf/$folder" ] || fail broken "$folder is not there"
  mkdir -p "\${path%/*}" || fail broken "the folder of the symlink cannot be made"
  ln -s "$text" "$draft" && mv -f -T "$draft" "$path" || fail broken "the symlink cannot be replaced"
fi
[ ! -d "\${path%/*}" ] || flush "\${path%/*}" || fail broken "the symlink cannot be flushed"
`)

/** LIVE SHELF TAG FOLDER…: removes trees, but for what live or previous leads to. Prints `removed NAME` lines. */
export const removeScript = script(`
live=$1 shelf=$2 tag=$3
shift 3
is_named() {
  [ -L "$1" ] || return 1
  text=$(readlink "$1") && [ "\${text##*/}" = "$folder" ]
}
for folder; do
  trash=$shelf/.staging-$tag-trash-$folder
  rm -rf "$trash" || fail broken "$folder cannot be removed"
  [ -e "$shelf/$folder" ] || { say "removed $folder"; continue; }
  # This may be a step that was given up on: since then it may have become what is in use.
  if is_named "$live" || is_named "$shelf/previous"; then continue; fi
  mv -T "$shelf/$folder" "$trash" && rm -rf "$trash" || fail broken "$folder cannot be removed"
  say "removed $folder"
done
`)

/** SHELF TAG: removes what interrupted attempts have left. Prints `swept NAME` lines. */
export const sweepScript = script(`
sweep "$1" "$2"
`)
