/** Puts a whole client on a fake server and a fake clock: everything real but the network, the time and the screen. */
import { createApi } from "../src/api/api.ts";
import { createChat } from "../src/app/chat.ts";
import type { Chat } from "../src/features/chat.ts";
import { silentLogger } from "../src/lib/logger.ts";
import type { Model } from "../src/model/state.ts";
import { memoryVault, type Vault } from "../src/model/vault.ts";
import { decodeBody, user as userReader } from "../src/wire/decode.ts";
import type { User as WireUser } from "../src/wire/frames.gen.ts";
import { type ConversationId, conversationId } from "../src/wire/ids.ts";
import type { User } from "../src/wire/types.ts";
import { FakeClock, seeded, settle } from "./fake-clock.ts";
import { Browser, FakeServer } from "./fake-server.ts";

export interface Stage {
  readonly clock: FakeClock;
  readonly server: FakeServer;
  /** A client of this person, started and live. */
  readonly client: (user: WireUser, vault?: Vault) => Promise<Client>;
}

export interface Client {
  readonly chat: Chat;
  readonly browser: Browser;
  readonly vault: Vault;
  readonly model: () => Model;
}

export function decoded(user: WireUser): User {
  const read = decodeBody(userReader, user);
  if (!read.ok) throw new Error(`not a user: ${read.malformed}`);
  return read.value;
}

export function idOf(text: string): ConversationId {
  const id = conversationId(text);
  if (id === null) throw new Error(`not an id: ${text}`);
  return id;
}

export function stage(seed = 1): Stage {
  const clock = new FakeClock();
  const server = new FakeServer(() => clock.now(), seeded(seed));
  return {
    clock,
    server,
    async client(user, vault = memoryVault()) {
      const browser = new Browser();
      browser.user = user;
      const chat = createChat({
        me: decoded(user),
        api: createApi(server.fetch(browser)),
        transport: server.transport(browser),
        vault,
        clock,
        random: seeded(seed + 1000 + server.browsers.size),
        logger: silentLogger,
        deviceId: "00000000-0000-7000-8000-000000000001",
        version: "test",
      });
      await chat.start();
      await settle();
      return { chat, browser, vault, model: chat.get };
    },
  };
}

/** The texts of a conversation as the person sees them, echoes included. */
export function seenTexts(model: Model, id: ConversationId): readonly (string | null)[] {
  const messages = model.conversations.get(id)?.window?.items.map((message) => message.body) ?? [];
  const echoes = model.outbox
    .filter((entry) => entry.conversation_id === id)
    .map((entry) => `(${entry.body})`);
  return [...messages, ...echoes];
}
