const recordsMax = 1000
const charactersMax = 8_388_608

/** The newest records as pages are told of them, written down once for all who listen. */
export class NewestRecords {
  private texts: string[] = []
  private characters = 0

  /** @param lastSeq The last record, of which there may be none here. */
  constructor(public lastSeq: number) {}

  /** The first that is here, or that will be. */
  private get firstSeq(): number {
    return this.lastSeq - this.texts.length + 1
  }

  add(seq: number, text: string): void {
    this.texts.push(text)
    this.lastSeq = seq
    this.characters += text.length
    while (this.texts.length > recordsMax || (this.characters > charactersMax && this.texts.length > 1))
      this.characters -= this.texts.shift()!.length
  }

  /** Those from `seq` on; null where the first of them is not here. */
  from(seq: number): { readonly text: string; readonly next: number } | null {
    if (seq < this.firstSeq || seq > this.lastSeq) return null
    return { text: this.texts.slice(seq - this.firstSeq).join(''), next: this.lastSeq + 1 }
  }
}
