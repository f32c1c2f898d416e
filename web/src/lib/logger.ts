/** Where the client notes what an engineer would want to know. Never a message's text, a name or a token. */
export interface Logger {
  note(what: string, facts?: Readonly<Record<string, string | number | boolean>>): void;
}

/** How many notes are kept for a look from the browser's console (`hubbubLog`). */
const NOTES_MAX = 200;

export function memoryLogger(): Logger & { readonly notes: readonly string[] } {
  const notes: string[] = [];
  return {
    notes,
    note(what, facts) {
      notes.push(facts ? `${what} ${JSON.stringify(facts)}` : what);
      if (notes.length > NOTES_MAX) notes.shift();
    },
  };
}

export const silentLogger: Logger = { note: () => undefined };
