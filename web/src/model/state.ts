/** The whole of what the client knows, as one immutable value; and the words in which it is told and in which it asks. */
import type { CommandId, ConversationId, UserId } from "../wire/ids.ts";
import type {
  ClientFrame,
  Limits,
  LogEvent,
  Member,
  Message,
  ServerFrame,
  Summary,
  User,
} from "../wire/types.ts";
import type { Outbox, Outgoing } from "./outbox.ts";
import type { Stream } from "./stream.ts";
import type { Side, Window } from "./window.ts";

export interface Conversation {
  /** Names and counts. Counts are those as of event `countedTo`. */
  readonly summary: Summary;
  readonly countedTo: number;
  /** Sort key of the inbox: the time of the newest message, or where the server listed it. */
  readonly activity: number;
  readonly stream: Stream;
  /** A gap is being asked for; one question at a time. */
  readonly filling: boolean;
  /** Questions since the last one that brought anything. */
  readonly fillAttempts: number;
  /** Null until opened. */
  readonly window: Window | null;
  readonly loading: { readonly before: boolean; readonly after: boolean; readonly first: boolean };
  /** The last attempt to load history failed with this code. */
  readonly loadProblem: string | null;
  /** Rises when the window is thrown away: pages asked for before then are not welcome any more. */
  readonly generation: number;
  /** Who types, with the time at which we stop believing it. */
  readonly typing: ReadonlyMap<UserId, number>;
  readonly members: readonly Member[] | null;
}

export interface Model {
  readonly me: User;
  /** Live: everything missed has arrived. Otherwise what is shown may be old, and the screen says so. */
  readonly live: boolean;
  /** Inbox pages: `stale` before the first page of this session is in. */
  readonly inbox: "stale" | "loading" | "ready" | "failed";
  readonly conversations: ReadonlyMap<ConversationId, Conversation>;
  /** Events of conversations whose summary is still on its way. */
  readonly orphans: ReadonlyMap<ConversationId, readonly LogEvent[]>;
  /** Conversations that are not (or no longer) ours, with the reason to show. */
  readonly missing: ReadonlyMap<ConversationId, string>;
  /** Null: asked for, not answered or not visible. */
  readonly people: ReadonlyMap<UserId, User | null>;
  readonly outbox: Outbox;
  /** The latest read mark made here per conversation, until a summary shows it. */
  readonly marks: ReadonlyMap<ConversationId, number>;
  readonly opened: ConversationId | null;
  /** The message the address names, until its page has been asked for. */
  readonly around: number | null;
  /** What the inbox reading under way has listed; what it leaves out at the end is looked up one by one. */
  readonly listed: ReadonlySet<ConversationId>;
  readonly limits: Limits;
}

export type PageQuery =
  | { readonly side: "newest" }
  | { readonly side: "before" | "after" | "around"; readonly no: number };

export type Input =
  | { readonly on: "frames"; readonly frames: readonly ServerFrame[] }
  | { readonly on: "disconnected" }
  | {
      readonly on: "inbox_page";
      readonly items: readonly Summary[];
      readonly first: boolean;
      readonly last: boolean;
    }
  | { readonly on: "inbox_failed" }
  | { readonly on: "summary"; readonly summary: Summary }
  | { readonly on: "summary_failed"; readonly id: ConversationId; readonly code: string }
  | {
      readonly on: "page";
      readonly id: ConversationId;
      readonly side: Side;
      readonly generation: number;
      readonly items: readonly Message[];
      readonly more: boolean;
    }
  | {
      readonly on: "page_failed";
      readonly id: ConversationId;
      readonly side: Side;
      readonly generation: number;
      readonly code: string;
    }
  | { readonly on: "filled"; readonly id: ConversationId; readonly items: readonly LogEvent[] }
  | { readonly on: "fill_failed"; readonly id: ConversationId; readonly code: string }
  | { readonly on: "people"; readonly users: readonly User[] }
  | { readonly on: "members"; readonly id: ConversationId; readonly members: readonly Member[] }
  | { readonly on: "restored"; readonly outbox: Outbox }
  // What the person does.
  | { readonly on: "open"; readonly id: ConversationId; readonly around: number | null }
  | { readonly on: "close" }
  | { readonly on: "load"; readonly id: ConversationId; readonly side: "before" | "after" | "newest" }
  | {
      readonly on: "send";
      readonly id: CommandId;
      readonly conversation: ConversationId;
      readonly body: string;
    }
  | { readonly on: "retry"; readonly id: CommandId; readonly fresh: CommandId }
  | { readonly on: "discard"; readonly id: CommandId }
  | { readonly on: "seen"; readonly id: ConversationId; readonly upTo: number }
  | { readonly on: "typing"; readonly id: ConversationId; readonly typing: boolean }
  | { readonly on: "reload_inbox" }
  | { readonly on: "reload_history"; readonly id: ConversationId }
  | { readonly on: "want_members"; readonly id: ConversationId }
  // What time does.
  | { readonly on: "pump" }
  | { readonly on: "ack_slow"; readonly id: CommandId; readonly attempts: number }
  | { readonly on: "ack_late"; readonly id: CommandId; readonly attempts: number }
  | { readonly on: "event_due"; readonly id: ConversationId; readonly epoch: number; readonly seq: number }
  | { readonly on: "fill_again"; readonly id: ConversationId }
  | { readonly on: "refresh"; readonly id: ConversationId }
  | { readonly on: "typing_faded"; readonly id: ConversationId };

export type Effect =
  | { readonly do: "send"; readonly frame: ClientFrame }
  | { readonly do: "fetch_inbox" }
  | { readonly do: "fetch_summary"; readonly id: ConversationId }
  | {
      readonly do: "fetch_page";
      readonly id: ConversationId;
      readonly query: PageQuery;
      readonly generation: number;
    }
  | { readonly do: "fetch_events"; readonly id: ConversationId; readonly fromSeq: number }
  | { readonly do: "fetch_user"; readonly id: UserId }
  | { readonly do: "fetch_members"; readonly id: ConversationId }
  /** Ask the line whether it is still there. */
  | { readonly do: "probe" }
  | { readonly do: "keep"; readonly entry: Outgoing }
  | { readonly do: "forget"; readonly id: CommandId }
  | { readonly do: "later"; readonly ms: number; readonly input: Input };

/** Bytes of a message until the server's welcome names its own limit. */
const BODY_BYTES_DEFAULT = 16_384;

export function emptyModel(me: User): Model {
  return {
    me,
    live: false,
    inbox: "stale",
    conversations: new Map(),
    orphans: new Map(),
    missing: new Map(),
    people: new Map([[me.id, me]]),
    outbox: [],
    marks: new Map(),
    opened: null,
    around: null,
    listed: new Set(),
    limits: { message_body_bytes: BODY_BYTES_DEFAULT, password_min: null },
  };
}

/** A reduction in progress: the model so far and what it asks of the world. Lives for one call of `reduce`. */
export class Turn {
  readonly effects: Effect[] = [];

  constructor(
    public model: Model,
    readonly now: number,
  ) {}

  emit(effect: Effect): void {
    this.effects.push(effect);
  }

  set(changes: Partial<Model>): void {
    this.model = { ...this.model, ...changes };
  }

  conversation(id: ConversationId): Conversation | undefined {
    return this.model.conversations.get(id);
  }

  put(conversation: Conversation): void {
    this.set({ conversations: new Map(this.model.conversations).set(conversation.summary.id, conversation) });
  }

  change(id: ConversationId, changes: Partial<Conversation>): void {
    const present = this.conversation(id);
    if (present) this.put({ ...present, ...changes });
  }

  /** Asks once for each person we cannot name yet. */
  need(ids: Iterable<UserId>): void {
    const missing = [...new Set(ids)].filter((id) => !this.model.people.has(id));
    if (missing.length === 0) return;
    const people = new Map(this.model.people);
    for (const id of missing) {
      people.set(id, null);
      this.emit({ do: "fetch_user", id });
    }
    this.set({ people });
  }

  meet(users: Iterable<User>): void {
    this.set({
      people: new Map([...this.model.people, ...[...users].map((user) => [user.id, user] as const)]),
    });
  }
}
