/**
 * For what a caller in this package has to hold to. Where it does not, that is a defect of ours, and no error with a code.
 * Node's own loads for 4 ms in processes that others wait for.
 */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(what)
}
