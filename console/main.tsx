import { render } from 'preact'
import { enter } from './model/entry.ts'
import { Page } from './page.tsx'

render(<Page />, document.getElementById('page')!)
void enter()
