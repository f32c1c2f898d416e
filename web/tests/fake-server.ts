/**
 * A server in the test's own process that speaks PROTOCOL.md as far as this client uses it: REST by `handle`, sockets by `connect`.
 * It stores events in order, delivers them, answers pages, and can be told to misbehave: cut lines, swallow acknowledgements, refuse,
 * hold frames back, forget the past of a cursor.
 *
 * Its frames are typed by the generated types, so it cannot drift from the protocol unnoticed.
 */

import type { Fetch } from "../src/api/http.ts";
import type { Random } from "../src/lib/clock.ts";
import { uuidv7 } from "../src/lib/ids.ts";
import type { Line, Transport, TransportEvents } from "../src/socket/transport.ts";
import type {
  ClientFrame,
  ErrorCode,
  EventData,
  RawEvent,
  Role,
  ServerFrame,
  User,
  Visibility,
  Message as WireMessage,
  Conversation as WireSummary,
} from "../src/wire/frames.gen.ts";
import { answerRest } from "./fake-rest.ts";

export interface Answered {
  readonly status: number;
  readonly body: unknown;
}

export interface Asked {
  readonly method: string;
  /** Path below /api/v1, with query. */
  readonly path: string;
  readonly body: unknown;
}

export interface Place {
  readonly id: string;
  readonly kind: "direct" | "group" | "room";
  readonly title?: string;
  readonly topic?: string;
  readonly visibility: Visibility;
  readonly members: Map<string, { role: Role; joinedNo: number }>;
  readonly log: RawEvent[];
  readonly commands: Map<string, RawEvent>;
  readonly marks: Map<string, number>;
  readonly epoch: number;
}

/** One browser: a cookie jar with at most one session, and at most one socket. */
export class Browser {
  user: User | null = null;
  socket: Socket | null = null;
}

class Socket {
  greeted = false;
  held: ServerFrame[] | null = null;

  constructor(
    readonly browser: Browser,
    readonly events: TransportEvents,
  ) {}

  deliver(frames: readonly ServerFrame[]): void {
    if (this.browser.socket !== this || frames.length === 0) return;
    if (this.held !== null) this.held.push(...frames);
    else this.events.received(JSON.stringify(frames.length === 1 ? frames[0] : frames));
  }
}

export class FakeServer {
  readonly users = new Map<string, User & { password: string }>();
  readonly places = new Map<string, Place>();
  readonly browsers = new Set<Browser>();
  /** Live events come without words, as in a very large room that is not on the screen. */
  outlines = false;
  /** While true, pages of history are read but do not arrive before `releasePages`. */
  holdPages = false;
  private readonly heldPages: (() => void)[] = [];
  /** Every frame a client sent, in order. */
  readonly heard: ClientFrame[] = [];
  readonly asked: string[] = [];
  /** While true, dialling fails and REST does not answer. */
  down = false;
  /** While true, REST answers but no socket opens, as behind some proxies. */
  noSockets = false;
  /** While true, commands are stored but nobody hears of the acknowledgement. */
  swallowAcks = false;
  /** While true, a sender's own events are not delivered on the socket (they come by catching up). */
  swallowEvents = false;
  /** Refuses the next sends with these codes, in order. */
  readonly refusals: { code: ErrorCode; retry_after_ms?: number }[] = [];
  /** A cursor further behind than this gets `resync`. */
  catchUpMax = 1_000;
  bodyBytesMax = 16_384;

  constructor(
    readonly now: () => number,
    private readonly random: Random,
  ) {}

  private id(): string {
    return uuidv7(this.now(), this.random);
  }

  private at(time = this.now()): string {
    return new Date(time).toISOString();
  }

  // --- people and places, for arranging a test -----------------------------------------------------------------

  addUser(username: string, display_name = username): User {
    const user = { id: this.id(), username, display_name };
    this.users.set(user.id, { ...user, password: `${username}-password` });
    return user;
  }

  addPlace(options: {
    readonly kind: Place["kind"];
    readonly by: User;
    readonly members?: readonly User[];
    readonly title?: string;
    readonly topic?: string;
    readonly visibility?: Visibility;
  }): string {
    const { kind, by, members = [], title, topic, visibility = "private" } = options;
    const id = this.id();
    const place: Place = {
      id,
      kind,
      visibility,
      members: new Map(),
      log: [],
      commands: new Map(),
      marks: new Map(),
      epoch: 1,
      ...(title === undefined ? {} : { title }),
      ...(topic === undefined ? {} : { topic }),
    };
    this.places.set(id, place);
    place.members.set(by.id, { role: kind === "direct" ? "member" : "owner", joinedNo: 0 });
    for (const member of members) place.members.set(member.id, { role: "member", joinedNo: 0 });
    const list = [...place.members].map(([user_id, { role }]) => ({ user_id, role }));
    for (const user_id of place.members.keys())
      this.tell(user_id, [{ t: "added", conversation: this.summary(place, user_id) }]);
    this.append(place, by.id, { kind: "conversation_created", data: { kind, visibility, members: list } });
    return id;
  }

  /** Stores a message as if it had come from elsewhere. */
  say(placeId: string, by: User, body: string, time?: number): RawEvent {
    return this.append(this.place(placeId), by.id, { kind: "message_sent", data: { body } }, this.id(), time);
  }

  place(id: string): Place {
    const place = this.places.get(id);
    if (place === undefined) throw new Error(`no conversation ${id}`);
    return place;
  }

  messages(placeId: string): WireMessage[] {
    return this.place(placeId).log.flatMap((event) => this.asMessage(event, null) ?? []);
  }

  removeMember(placeId: string, user: User): void {
    const place = this.place(placeId);
    this.append(place, user.id, { kind: "member_removed", data: { user_id: user.id, reason: "removed" } });
    place.members.delete(user.id);
    this.tell(user.id, [{ t: "removed", conversation_id: placeId, reason: "removed" }]);
  }

  typing(placeId: string, by: User, on: boolean): void {
    for (const user_id of this.place(placeId).members.keys()) {
      if (user_id !== by.id)
        this.tell(user_id, [{ t: "typing", conversation_id: placeId, user_id: by.id, on }]);
    }
  }

  // --- the line ------------------------------------------------------------------------------------------------

  /** Ends the socket from the server's side, or from nobody's (1006). */
  cut(browser: Browser, code = 1006): void {
    const { socket } = browser;
    browser.socket = null;
    socket?.events.closed(code);
  }

  /** Frames wait until `release`. */
  holdBack(browser: Browser): void {
    if (browser.socket !== null) browser.socket.held ??= [];
  }

  release(
    browser: Browser,
    change: (frames: ServerFrame[]) => readonly ServerFrame[] = (frames) => frames,
  ): void {
    const { socket } = browser;
    if (socket?.held == null) return;
    const frames = change(socket.held);
    socket.held = null;
    for (const frame of frames) socket.deliver([frame]);
  }

  releasePages(): void {
    for (const arrive of this.heldPages.splice(0)) arrive();
  }

  push(browser: Browser, frames: readonly ServerFrame[]): void {
    browser.socket?.deliver(frames);
  }

  connect(browser: Browser, events: TransportEvents): Line {
    this.browsers.add(browser);
    const socket = new Socket(browser, events);
    if (this.down || this.noSockets || browser.user === null) {
      // Without a session the upgrade is refused with 401, which a browser shows as 1006.
      void Promise.resolve().then(() => events.closed(1006));
      return { send: () => undefined, close: () => undefined };
    }
    browser.socket = socket;
    void Promise.resolve().then(() => {
      if (browser.socket === socket) events.opened();
    });
    return {
      send: (payload) => {
        if (browser.socket === socket) this.frame(socket, JSON.parse(payload) as ClientFrame);
      },
      close: () => {
        if (browser.socket === socket) browser.socket = null;
      },
    };
  }

  transport(browser: Browser): Transport {
    return (events) => this.connect(browser, events);
  }

  private frame(socket: Socket, frame: ClientFrame): void {
    this.heard.push(frame);
    const { user } = socket.browser;
    if (user === null) return;
    switch (frame.t) {
      case "hello":
        return this.hello(socket, user, frame.cursors ?? []);
      case "send":
        return this.send(socket, user, frame);
      case "mark":
        return this.mark(user.id, frame.conversation_id, frame.read_no ?? 0);
      case "typing":
        return this.places.has(frame.conversation_id)
          ? this.typing(frame.conversation_id, user, frame.on)
          : undefined;
      case "ping":
        return socket.deliver([{ t: "pong", n: frame.n }]);
      default:
        return;
    }
  }

  private hello(socket: Socket, user: User, cursors: readonly (readonly [string, number, number])[]): void {
    socket.greeted = true;
    socket.deliver([
      {
        t: "welcome",
        user,
        session_id: this.id(),
        device_id: this.id(),
        node: "fake",
        server_time: this.at(),
        heartbeat_s: 20,
        limits: { message_body_bytes: this.bodyBytesMax } as never,
      },
    ]);
    for (const [id, , seq] of cursors) {
      const place = this.places.get(id);
      if (place === undefined || !place.members.has(user.id)) continue;
      const missed = place.log.filter((event) => event.seq > seq);
      if (seq > place.log.length)
        socket.deliver([{ t: "reset", conversation_id: id, from_seq: place.log.length + 1 }]);
      else if (missed.length > this.catchUpMax) {
        socket.deliver([{ t: "resync", conversations: [[id, place.epoch, place.log.length]] }]);
      } else socket.deliver(missed.map((event) => ({ t: "event", ...event }) as ServerFrame));
    }
    socket.deliver([{ t: "live" }]);
  }

  private send(socket: Socket, user: User, frame: Extract<ClientFrame, { t: "send" }>): void {
    const { id, conversation_id } = frame;
    const refuse = (code: ErrorCode, retry_after_ms?: number) =>
      socket.deliver([
        { t: "error", id, code, detail: code, ...(retry_after_ms === undefined ? {} : { retry_after_ms }) },
      ]);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) return refuse(refusal.code, refusal.retry_after_ms);
    const place = this.places.get(conversation_id);
    if (!place?.members.has(user.id)) return refuse("not_found");
    const known = place.commands.get(id);
    const event =
      known ?? this.append(place, user.id, { kind: "message_sent", data: { body: frame.body } }, id);
    if (this.swallowAcks) return;
    socket.deliver([
      {
        t: "ack",
        id,
        conversation_id,
        epoch: event.epoch,
        seq: event.seq,
        at: event.at,
        ...(event.message_no === undefined ? {} : { message_no: event.message_no }),
        ...(known === undefined ? {} : { duplicate: true as const }),
      },
    ]);
  }

  append(place: Place, by: string, event: EventData, command_id = this.id(), time?: number): RawEvent {
    const sent = event.kind === "message_sent";
    const raw: RawEvent = {
      conversation_id: place.id,
      epoch: place.epoch,
      seq: place.log.length + 1,
      at: this.at(time),
      by,
      command_id,
      ...(sent ? { message_no: this.headNo(place) + 1 } : {}),
      ...event,
    };
    const told = this.outlines && sent ? { ...raw, data: { body: "", outline: true } } : raw;
    place.log.push(raw);
    place.commands.set(command_id, raw);
    for (const user_id of place.members.keys()) {
      if (this.swallowEvents && user_id === by) continue;
      this.tell(user_id, [{ t: "event", ...told } as ServerFrame]);
    }
    if (raw.message_no !== undefined) this.mark(by, place.id, raw.message_no);
    return raw;
  }

  tell(userId: string, frames: readonly ServerFrame[]): void {
    for (const { user, socket } of this.browsers) {
      if (user?.id === userId && socket?.greeted === true) socket.deliver(frames);
    }
  }

  headNo(place: Place): number {
    return place.log.reduce((no, event) => Math.max(no, event.message_no ?? 0), 0);
  }

  private mark(userId: string, placeId: string, no: number): void {
    const place = this.places.get(placeId);
    if (place === undefined) return;
    const read_no = Math.min(Math.max(place.marks.get(userId) ?? 0, no), this.headNo(place));
    place.marks.set(userId, read_no);
    for (const member of place.members.keys()) {
      this.tell(member, [{ t: "marker", conversation_id: placeId, user_id: userId, read_no, at: this.at() }]);
    }
  }

  asMessage(event: RawEvent, reader: string | null): WireMessage | null {
    if (event.kind !== "message_sent" || event.message_no === undefined) return null;
    const { conversation_id, message_no, seq, epoch, by, at, command_id } = event;
    const own = by === reader ? { command_id } : {};
    return {
      conversation_id,
      message_no,
      seq,
      epoch,
      by,
      at,
      body: event.data.body,
      attachments: [],
      reactions: [],
      mentions: [],
      ...own,
    } as WireMessage;
  }

  summary(place: Place, reader: string): WireSummary {
    const member = place.members.get(reader);
    const messages = place.log.flatMap((event) => this.asMessage(event, reader) ?? []);
    const read_no = place.marks.get(reader) ?? 0;
    const joined_no = member?.joinedNo ?? 0;
    const last = messages.at(-1);
    const peerId = [...place.members.keys()].find((id) => id !== reader);
    const peer = peerId === undefined ? undefined : this.publicUser(peerId);
    return {
      id: place.id,
      kind: place.kind,
      visibility: place.visibility,
      my_role: member?.role ?? null,
      member_count: place.members.size,
      epoch: place.epoch,
      head_seq: place.log.length,
      head_no: this.headNo(place),
      read_no,
      joined_no,
      unread: messages.filter(
        (message) => message.by !== reader && message.message_no > Math.max(read_no, joined_no),
      ).length,
      mentions: 0,
      ...(place.title === undefined ? {} : { title: place.title }),
      ...(place.topic === undefined ? {} : { topic: place.topic }),
      ...(last === undefined ? {} : { last_message: last }),
      ...(place.kind === "direct" && peer !== undefined ? { peer } : {}),
    } as WireSummary;
  }

  publicUser(id: string): User | undefined {
    const known = this.users.get(id);
    return known === undefined
      ? undefined
      : { id, username: known.username, display_name: known.display_name };
  }

  // --- REST ----------------------------------------------------------------------------------------------------

  fetch(browser: Browser): Fetch {
    return async (path, init) => {
      if (this.down) throw new TypeError("network");
      const body: unknown = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
      const answer = this.handle(browser, {
        method: init.method ?? "GET",
        path: path.replace("/api/v1", ""),
        body,
      });
      if (this.holdPages && path.includes("/messages"))
        await new Promise<void>((arrive) => this.heldPages.push(arrive));
      return new Response(answer.status === 204 ? null : JSON.stringify(answer.body), {
        status: answer.status,
      });
    };
  }

  handle(browser: Browser, asked: Asked): Answered {
    this.browsers.add(browser);
    this.asked.push(`${asked.method} ${asked.path}`);
    return answerRest(this, browser, asked);
  }
}
