declare module 'fs-native-extensions' {
  const native: {
    /** False where another descriptor holds the lock, in this process or another. */
    tryLock(descriptor: number, offset: number, length: number): boolean
  }
  export default native
}
