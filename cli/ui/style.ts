/** Colour on a terminal, plain text everywhere else. And what a terminal must never be sent. */
const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  cyan: [36, 39],
} as const
export type Style = keyof typeof CODES
export type Paint = (style: Style, text: string) => string

export function painter(stream: { readonly isTTY?: boolean }, noColor: boolean): Paint {
  if (stream.isTTY !== true || noColor) return (_style, text) => text
  return (style, text) => {
    const [on, off] = CODES[style]
    return `\u001b[${on}m${text}\u001b[${off}m`
  }
}

/** Text of others (labels, reasons, messages) may carry control sequences that rewrite the screen: they become `?`. */
export const safeText = (text: string): string =>
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?')
