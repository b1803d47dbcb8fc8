/** For a program that draws what a session shows, or lends it its own terminal. Apart from the client, which is small. */
export { type DetachKey, parseDetachKey } from './detach-key.ts'
export { type RenderOptions, renderScreen, type Screen, screenOf } from './screen.ts'
export { type Attached, type AttachOptions, attachTerminal } from './terminal.ts'
