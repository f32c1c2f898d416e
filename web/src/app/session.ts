/** Who is signed in: asks the server at start, opens a chat after log-in, closes it when the session ends. */
import type { Api } from "../api/api.ts";
import type { Chat } from "../features/chat.ts";
import type { Clock, Random } from "../lib/clock.ts";
import { Observable, type Readable } from "../lib/observable.ts";
import { backoffMs } from "../socket/backoff.ts";
import type { User } from "../wire/types.ts";

export type Session =
  | { readonly at: "booting"; readonly unreachable: boolean }
  | { readonly at: "guest"; readonly ended: boolean }
  | { readonly at: "in"; readonly chat: Chat };

export interface SessionParts {
  readonly api: Api;
  readonly clock: Clock;
  readonly random: Random;
  readonly open: (me: User) => Chat;
}

export interface SessionKeeper {
  readonly session: Readable<Session>;
  boot(): Promise<void>;
  signedIn(me: User): void;
  logOut(): Promise<void>;
}

export function createSessionKeeper({ api, clock, random, open }: SessionParts): SessionKeeper {
  const session = new Observable<Session>({ at: "booting", unreachable: false });

  function signedIn(me: User): void {
    const chat = open(me);
    chat.connection.subscribe(() => {
      const present = session.get();
      if (chat.connection.get().at !== "ended" || present.at !== "in" || present.chat !== chat) return;
      // Ended elsewhere: what is kept on this device waits for the next log-in.
      void chat.stop(false);
      session.set({ at: "guest", ended: true });
      void adopt(me);
    });
    session.set({ at: "in", chat });
    void chat.start();
  }

  /** Another person may have logged in with this browser; then this window is theirs now. */
  async function adopt(before: User): Promise<void> {
    const answer = await api.me();
    if (answer.ok && answer.value.id !== before.id && session.get().at === "guest") signedIn(answer.value);
  }

  async function boot(): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const answer = await api.me();
      if (answer.ok) return signedIn(answer.value);
      if (answer.error.code === "unauthenticated") return session.set({ at: "guest", ended: false });
      session.set({ at: "booting", unreachable: true });
      await new Promise<void>((resolve) => void clock.after(backoffMs(attempt, random), resolve));
    }
  }

  async function logOut(): Promise<void> {
    const present = session.get();
    if (present.at !== "in") return;
    session.set({ at: "guest", ended: false });
    await present.chat.stop(true);
    await api.logout();
  }

  return { session, boot, signedIn, logOut };
}
