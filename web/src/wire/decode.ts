/**
 * The crunchy shell: everything from the socket or from REST passes here once, unknown → typed or rejected; inside, nobody checks again.
 *
 * Never: a cast of remote data anywhere else; trusting a field the protocol marks optional.
 */
import type {
  ConversationKind,
  PresenceState,
  RawEvent,
  Role,
  ServerFrame as WireFrame,
} from "./frames.gen.ts";
import { commandId, conversationId, userId } from "./ids.ts";
import {
  count,
  fields,
  flag,
  id,
  list,
  Malformed,
  maybe,
  object,
  oneOf,
  or,
  type Reader,
  text,
  time,
} from "./shape.ts";
import type {
  EventBody,
  Head,
  Limits,
  LogEvent,
  Member,
  Message,
  Page,
  Room,
  ServerFrame,
  Summary,
  User,
} from "./types.ts";

const asConversation = id(conversationId);
const asUser = id(userId);
const asCommand = id(commandId);

const role: Reader<Role> = oneOf("owner", "admin", "member", "guest");
const kind: Reader<ConversationKind> = oneOf("direct", "group", "room");
const visibility = oneOf("private", "public");
const presence: Reader<PresenceState> = oneOf("online", "away", "offline");

/** The bytes a message may have until the server says otherwise (`message_body_bytes`). */
const MESSAGE_BODY_BYTES_DEFAULT = 16_384;

export const limits: Reader<Limits> = object<Limits>({
  message_body_bytes: or(count, MESSAGE_BODY_BYTES_DEFAULT),
  password_min: maybe(count),
});

export const user: Reader<User> = object<User>({
  id: asUser,
  username: text,
  display_name: text,
  bot: or(flag, false),
});

export const message: Reader<Message> = (value, path) => {
  const read = object<Omit<Message, "edited"> & { edited_at: number | null; deleted: boolean }>({
    conversation_id: asConversation,
    message_no: count,
    seq: count,
    by: asUser,
    at: time,
    body: maybe(text),
    command_id: maybe(asCommand),
    edited_at: maybe(time),
    deleted: or(flag, false),
  })(value, path);
  const { edited_at, deleted, ...rest } = read;
  return { ...rest, body: deleted ? null : rest.body, edited: edited_at !== null };
};

export const summary: Reader<Summary> = object<Summary>({
  id: asConversation,
  kind,
  title: maybe(text),
  topic: maybe(text),
  visibility,
  my_role: maybe(role),
  member_count: count,
  epoch: count,
  head_seq: count,
  head_no: count,
  read_no: or(count, 0),
  joined_no: or(count, 0),
  unread: or(count, 0),
  last_message: maybe(message),
  peer: maybe(user),
});

export const room: Reader<Room> = object<Room>({
  id: asConversation,
  kind,
  title: maybe(text),
  topic: maybe(text),
  visibility,
  member_count: count,
  peer: maybe(user),
});

export const member: Reader<Member> = object<Member>({ user, role });

export const signedIn: Reader<{ readonly user: User }> = object<{ user: User }>({ user });

export const pageOf = <T>(item: Reader<T>): Reader<Page<T>> =>
  object<Page<T>>({ items: list(item), next_cursor: maybe(text) });

const eventReaders: {
  readonly [K in RawEvent["kind"]]?: (data: unknown, messageNo: number | null) => EventBody;
} = {
  message_sent: (data, messageNo) => {
    const { body, outline } = object({ body: maybe(text), outline: or(flag, false) })(data, "data");
    return {
      kind: "message_sent",
      message_no: count(messageNo, "message_no"),
      body,
      ...(outline ? { outline } : {}),
    };
  },
  message_edited: (data) => {
    const read = object({ message_no: count, body: maybe(text) })(data, "data");
    return { kind: "message_edited", target_no: read.message_no, body: read.body };
  },
  message_deleted: (data) => ({
    kind: "message_deleted",
    target_no: object({ message_no: count })(data, "data").message_no,
  }),
  settings_changed: (data) => ({
    kind: "settings_changed",
    ...object({ title: maybe(text), topic: maybe(text), visibility: maybe(visibility) })(data, "data"),
  }),
  member_added: (data) => ({ kind: "member_added", ...object({ user_id: asUser })(data, "data") }),
  member_removed: (data) => ({ kind: "member_removed", ...object({ user_id: asUser })(data, "data") }),
  role_changed: (data) => ({ kind: "role_changed", ...object({ user_id: asUser, role })(data, "data") }),
};

/** An event of the log, from a frame or from `GET …/events`. A kind we do not know still moves the cursor. */
export const logEvent: Reader<LogEvent> = (value, path) => {
  const head = object({
    conversation_id: asConversation,
    epoch: count,
    seq: count,
    at: time,
    by: asUser,
    kind: text,
    command_id: asCommand,
    message_no: maybe(count),
  })(value, path);
  const { kind: name, message_no, ...rest } = head;
  const reader = Object.hasOwn(eventReaders, name) ? eventReaders[name as RawEvent["kind"]] : undefined;
  const event: EventBody = reader ? reader(fields(value, path).data, message_no) : { kind: "other", name };
  return { ...rest, event };
};

const head: Reader<Head> = (value, path) => {
  const [conversation, epoch, seq] = list<unknown>((item) => item)(value, path);
  return {
    conversation_id: asConversation(conversation, `${path}[0]`),
    epoch: count(epoch, `${path}[1]`),
    head_seq: count(seq, `${path}[2]`),
  };
};

type FrameReader = (value: unknown) => ServerFrame;

const tagged =
  <T extends ServerFrame["t"], F extends object>(t: T, shape: { readonly [K in keyof F]: Reader<F[K]> }) =>
  (value: unknown): { readonly t: T } & F => ({ t, ...object<F>(shape)(value, "") });

/** One reader per frame type the server may send; `page` and `presence` wait for their features but are no strangers. */
const frameReaders: { readonly [T in WireFrame["t"]]: FrameReader | null } = {
  welcome: tagged("welcome", { user, heartbeat_s: count, limits: or(limits, limits({}, "limits")) }),
  event: (value) => ({ t: "event", event: logEvent(value, "") }),
  live: () => ({ t: "live" }),
  ack: tagged("ack", {
    id: asCommand,
    conversation_id: asConversation,
    epoch: count,
    seq: count,
  }),
  error: tagged("error", {
    id: maybe(asCommand),
    code: text,
    detail: or(text, ""),
    retry_after_ms: maybe(count),
  }),
  page: null,
  marker: tagged("marker", { conversation_id: asConversation, user_id: asUser, read_no: maybe(count) }),
  typing: tagged("typing", { conversation_id: asConversation, user_id: asUser, on: flag }),
  presence: tagged("presence", { user_id: asUser, state: presence }),
  added: tagged("added", { conversation: summary }),
  removed: tagged("removed", { conversation_id: asConversation, reason: or(text, "") }),
  resync: tagged<"resync", { all: boolean; conversations: readonly Head[] }>("resync", {
    all: or(flag, false),
    conversations: or(list(head), []),
  }),
  reset: tagged("reset", { conversation_id: asConversation, from_seq: count }),
  drain: tagged("drain", { reconnect_after_ms: count }),
  pong: tagged("pong", { n: count }),
};

/** What one text frame held. `unknown` counts frame types of a later version; `malformed` is reason enough to start over. */
export interface Decoded {
  readonly frames: readonly ServerFrame[];
  readonly unknown: number;
  readonly malformed: string | null;
}

/** Decodes one text frame: an object or an array of objects. Frames before a malformed one are kept, those after it are not. */
export function decodeFrames(payload: string): Decoded {
  let parsed: unknown;
  try {
    parsed = JSON.parse(payload);
  } catch {
    return { frames: [], unknown: 0, malformed: "not JSON" };
  }
  const frames: ServerFrame[] = [];
  let unknown = 0;
  for (const value of Array.isArray(parsed) ? (parsed as unknown[]) : [parsed]) {
    try {
      const t = text(fields(value, "").t, "t");
      const reader = Object.hasOwn(frameReaders, t) ? frameReaders[t as WireFrame["t"]] : null;
      if (reader) frames.push(reader(value));
      else unknown += 1;
    } catch (error) {
      if (error instanceof Malformed) return { frames, unknown, malformed: error.path };
      throw error;
    }
  }
  return { frames, unknown, malformed: null };
}

/** Reads a REST answer, or says that it is not what the protocol promises. */
export function decodeBody<T>(
  reader: Reader<T>,
  value: unknown,
): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly malformed: string } {
  try {
    return { ok: true, value: reader(value, "") };
  } catch (error) {
    if (error instanceof Malformed) return { ok: false, malformed: error.path };
    throw error;
  }
}
