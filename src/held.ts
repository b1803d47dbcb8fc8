/**
 * Keeps this process alive until `work` is done. For whoever waits for something that does not do so itself, such as the
 * end of a child that may outlive us: Node would end with code 13 in the middle of the wait.
 */
export async function held<T>(work: Promise<T>): Promise<T> {
  const hold = setInterval(() => {}, 2 ** 31 - 1)
  try {
    return await work
  } finally {
    clearInterval(hold)
  }
}
