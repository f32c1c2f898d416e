/** Message text into parts that can only become text nodes and links; there is no path from here to markup. */

export type Part =
  | { readonly is: "text"; readonly text: string }
  | { readonly is: "link"; readonly text: string; readonly href: string };

export type Line = readonly Part[];
export type Paragraph = readonly Line[];

const LINK = /https?:\/\/[^\s<>"'`]+/gi;
const TRAILING = /[.,;:!?…]+$/;

/** Cuts what ends the sentence rather than the address, and a bracket that was opened before the address. */
function trimmed(match: string): string {
  let link = match.replace(TRAILING, "");
  while (link.endsWith(")") && (link.match(/\(/g)?.length ?? 0) < (link.match(/\)/g)?.length ?? 0)) {
    link = link.slice(0, -1).replace(TRAILING, "");
  }
  return link;
}

function safeHref(text: string): string | null {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url !== null && (url.protocol === "http:" || url.protocol === "https:") && url.hostname !== ""
    ? url.href
    : null;
}

function parseLine(line: string): Line {
  const parts: Part[] = [];
  let from = 0;
  for (const match of line.matchAll(LINK)) {
    const text = trimmed(match[0]);
    const href = safeHref(text);
    if (href === null) continue;
    if (match.index > from) parts.push({ is: "text", text: line.slice(from, match.index) });
    parts.push({ is: "link", text, href });
    from = match.index + text.length;
  }
  if (from < line.length) parts.push({ is: "text", text: line.slice(from) });
  return parts;
}

export function parseText(body: string): readonly Paragraph[] {
  return body
    .replace(/\r\n?/g, "\n")
    .split(/\n[ \t]*\n+/)
    .map((paragraph) => paragraph.replace(/^\n+|\n+$/g, ""))
    .filter((paragraph) => paragraph.trim() !== "")
    .map((paragraph) => paragraph.split("\n").map(parseLine));
}

const EMOJI_ONLY = /^(?:\p{RGI_Emoji}\s*){1,3}$/v;

/** Up to three emoji and nothing else: shown large. */
export const isEmojiOnly = (body: string): boolean => EMOJI_ONLY.test(body.trim());

const encoder = new TextEncoder();

/** Length as the server measures it. */
export const byteLength = (text: string): number => encoder.encode(text).length;
