/**
 * An MCP server in a shell, which costs next to nothing to run. Its only tool, `version`, says `greeting`; the shell fills in
 * what it knows there.
 */
export const shellServer = (greeting: string) => `#!/bin/sh
while read -r line; do
  case $line in
    *'"id":'*) id=\${line##*'"id":'}; id=\${id%%[!0-9]*} ;;
    *) continue ;;
  esac
  case $line in
    *'"initialize"'*) result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"tools/call"'*) result='{"content":[{"type":"text","text":"'"${greeting}"'"}]}' ;;
    *'"tools/list"'*) result='{"tools":[{"name":"version","inputSchema":{"type":"object"}}]}' ;;
    *) result='{}' ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\\n' "$id" "$result"
done
`
