/** For whoever loads plugins. The `instar/plugins` subpath; it needs nothing else of the package. */
export {
  type LeftOut,
  type ListOptions,
  type LoadablePlugin,
  listPlugins,
  type PluginListing,
  watchPlugins,
} from './loader.ts'
