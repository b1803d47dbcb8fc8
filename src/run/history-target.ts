import type { AnyStateNode } from 'xstate'

/**
 * Where a history state leads before there is any history: a state's id behind a #, or a path of keys seen from its parent.
 * XState looks for it only when it is needed.
 *
 * @returns undefined where there is no such state.
 */
export function historyTarget(node: AnyStateNode, path: string): AnyStateNode | undefined {
  if (path.startsWith('#')) return byId(node, path)
  const keys = path.match(/(?:\\.|[^.\\])+/g) ?? []
  return keys.reduce<AnyStateNode | undefined>((from, key) => from?.states[key.replaceAll(/\\(.)/g, '$1')], node.parent)
}

function byId({ machine }: AnyStateNode, id: string): AnyStateNode | undefined {
  try {
    return machine.getStateNodeById(id)
  } catch {
    return undefined
  }
}
