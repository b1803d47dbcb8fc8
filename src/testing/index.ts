/** What a host tests itself with. The `instar/testing` subpath. */
export { type Fault, SimulatedDisk, type SimulatedDiskOptions, seededRandom } from './disk.ts'
export { type Ended, type KillMatrixOptions, type KillMatrixReport, killMatrix, type Scenario } from './kill-matrix.ts'
export { type Mortal, mortal, type Step } from './mortal.ts'
export type { Passage } from './passages.ts'
export {
  type AnswerFault,
  type Gate,
  type LoggedRequest,
  type PackageFiles,
  type PublishOptions,
  type RegistryOptions,
  type RequestKind,
  startRegistry,
  type TestRegistry,
  type VersionFault,
} from './registry.ts'
export { type HostileTree, hostileTree, type TarEntry, tarball } from './tarball.ts'
export { done, elapse, failed, transcript } from './transcript.ts'
