const elements = new Set(['svg', 'g', 'rect', 'circle', 'path', 'text', 'desc'])
const attributes = new Set([
  ...['class', 'role', 'aria-label', 'viewBox', 'width', 'height', 'x', 'y', 'cx', 'cy', 'r', 'rx', 'd'],
  ...['textLength', 'lengthAdjust', 'data-state', 'data-edges', 'xmlns'],
])

/**
 * Reads a drawing as what it may be and nothing more. The names in it are somebody's, and its style sheet is a file of this
 * page: what is inline, the page's policy forbids.
 */
export function inertDrawing(text: string): SVGSVGElement {
  const root = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement
  if (root.localName !== 'svg') throw new Error('the drawing cannot be read')
  for (const element of [root, ...root.querySelectorAll('*')]) {
    if (!elements.has(element.localName)) element.remove()
    for (const { name } of [...element.attributes]) if (!attributes.has(name)) element.removeAttribute(name)
  }
  return document.importNode(root, true) as Element as SVGSVGElement
}
