/**
 * The document, for a terminal emulator that writes style sheets and style attributes as text. The page's policy forbids
 * those, for they could come from anywhere; the same through the CSSOM it allows, for only a script can do that. So what
 * this document creates turns the one into the other.
 *
 * @see https://github.com/xtermjs/xterm.js/issues/4445
 */
export function strictDocument(): Document {
  return new Proxy(document, {
    get(target, name) {
      if (name === 'createElement') return createElement
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  })
}

/**
 * The same for what is created while `work` is done: where the emulator is opened, one of its parts asks the page's document
 * even where it was given another.
 */
export function strictly(work: () => void): void {
  document.createElement = createElement as typeof document.createElement
  try {
    work()
  } finally {
    Reflect.deleteProperty(document, 'createElement')
  }
}

function createElement(name: string): HTMLElement {
  if (name === 'style') return styleSheet()
  const element = Document.prototype.createElement.call(document, name)
  element.setAttribute = setAttribute
  return element
}

function setAttribute(this: HTMLElement, name: string, value: string): void {
  if (name === 'style') this.style.cssText = value
  else Element.prototype.setAttribute.call(this, name, value)
}

/** Stands for a `<style>` element: its text is a sheet of the document for as long as it is in it. */
function styleSheet(): HTMLElement {
  const sheet = new CSSStyleSheet()
  const element = Document.prototype.createElement.call(document, 'template')
  Object.defineProperty(element, 'textContent', {
    set: (text: string) => sheet.replaceSync(text),
    get: () => '',
  })
  const remove = element.remove.bind(element)
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet)
    remove()
  }
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
  return element
}
