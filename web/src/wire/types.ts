/**
 * What the client works with after decoding: the wire's types with branded ids, times as milliseconds, and "absent" as null.
 * Start at `decode.ts` for how they come to be; `frames.gen.ts` is what travels.
 */
import type { ConversationKind, PresenceState, Role, Visibility } from "./frames.gen.ts";
import type { CommandId, ConversationId, UserId } from "./ids.ts";

export type { ClientFrame, ConversationKind, Role, Visibility } from "./frames.gen.ts";

export interface User {
  readonly id: UserId;
  readonly username: string;
  readonly display_name: string;
  readonly bot: boolean;
}

export interface Message {
  readonly conversation_id: ConversationId;
  readonly message_no: number;
  readonly seq: number;
  readonly by: UserId;
  readonly at: number;
  /** Markdown source; null once deleted. */
  readonly body: string | null;
  readonly edited: boolean;
  /** Set on own messages only. */
  readonly command_id: CommandId | null;
}

export interface Summary {
  readonly id: ConversationId;
  readonly kind: ConversationKind;
  readonly title: string | null;
  readonly topic: string | null;
  readonly visibility: Visibility;
  /** Null when the reader may see but is not a member (a public room). */
  readonly my_role: Role | null;
  readonly member_count: number;
  readonly epoch: number;
  readonly head_seq: number;
  readonly head_no: number;
  readonly read_no: number;
  readonly joined_no: number;
  readonly unread: number;
  readonly last_message: Message | null;
  readonly peer: User | null;
}

/** What a conversation looks like from outside and in: enough for its name and picture. */
export type Named = Pick<Summary, "id" | "kind" | "title" | "visibility" | "peer">;

/** A public room in the directory. */
export interface Room extends Named {
  readonly topic: string | null;
  readonly member_count: number;
}

export interface Member {
  readonly user: User;
  readonly role: Role;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

interface EventHead {
  readonly conversation_id: ConversationId;
  readonly epoch: number;
  readonly seq: number;
  readonly at: number;
  readonly by: UserId;
  readonly command_id: CommandId;
}

/** What happened, with the data of the kinds this client shows; every other kind is `other` and only moves the cursor. */
export type EventBody =
  | {
      readonly kind: "message_sent";
      readonly message_no: number;
      readonly body: string | null;
      /** The body was left out: a very large room that was not on the screen. */
      readonly outline?: true;
    }
  | { readonly kind: "message_edited"; readonly target_no: number; readonly body: string | null }
  | { readonly kind: "message_deleted"; readonly target_no: number }
  | {
      readonly kind: "settings_changed";
      readonly title: string | null;
      readonly topic: string | null;
      readonly visibility: Visibility | null;
    }
  | { readonly kind: "member_added" | "member_removed"; readonly user_id: UserId }
  | { readonly kind: "role_changed"; readonly user_id: UserId; readonly role: Role }
  | { readonly kind: "other"; readonly name: string };

export type LogEvent = EventHead & { readonly event: EventBody };

export interface Head {
  readonly conversation_id: ConversationId;
  readonly epoch: number;
  readonly head_seq: number;
}

export type ServerFrame =
  | { readonly t: "welcome"; readonly user: User; readonly heartbeat_s: number; readonly limits: Limits }
  | { readonly t: "event"; readonly event: LogEvent }
  | { readonly t: "live" }
  | {
      readonly t: "ack";
      readonly id: CommandId;
      readonly conversation_id: ConversationId;
      readonly epoch: number;
      readonly seq: number;
    }
  | {
      readonly t: "error";
      readonly id: CommandId | null;
      readonly code: string;
      readonly detail: string;
      readonly retry_after_ms: number | null;
    }
  | {
      readonly t: "marker";
      readonly conversation_id: ConversationId;
      readonly user_id: UserId;
      readonly read_no: number | null;
    }
  | {
      readonly t: "typing";
      readonly conversation_id: ConversationId;
      readonly user_id: UserId;
      readonly on: boolean;
    }
  | { readonly t: "presence"; readonly user_id: UserId; readonly state: PresenceState }
  | { readonly t: "added"; readonly conversation: Summary }
  | { readonly t: "removed"; readonly conversation_id: ConversationId; readonly reason: string }
  | { readonly t: "resync"; readonly all: boolean; readonly conversations: readonly Head[] }
  | { readonly t: "reset"; readonly conversation_id: ConversationId; readonly from_seq: number }
  | { readonly t: "drain"; readonly reconnect_after_ms: number }
  | { readonly t: "pong"; readonly n: number };

/** The limits the client obeys before the server has to. */
export interface Limits {
  readonly message_body_bytes: number;
  /** Characters; null when the server does not say. */
  readonly password_min: number | null;
}
