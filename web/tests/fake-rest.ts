/** The REST half of the fake server: PROTOCOL.md's resources as far as this client uses them. */
import type { ErrorCode, User, Visibility } from "../src/wire/frames.gen.ts";
import type { Answered, Asked, Browser, FakeServer, Place } from "./fake-server.ts";

const PAGE = 50;

export function answerRest(server: FakeServer, browser: Browser, asked: Asked): Answered {
  const url = new URL(asked.path, "http://fake");
  const parts = url.pathname.split("/").filter((part) => part !== "");
  const body = (asked.body ?? {}) as Record<string, unknown>;
  if (parts[0] === "auth") return auth(server, browser, parts[1] ?? "", body);
  if (parts[0] === "limits")
    return { status: 200, body: { message_body_bytes: server.bodyBytesMax, password_min: 10 } };
  const me = browser.user;
  if (me === null) return problem(401, "unauthenticated");
  const query = url.searchParams;
  switch (parts[0]) {
    case "me":
      return { status: 200, body: me };
    case "inbox":
      return page(
        [...server.places.values()]
          .filter((place) => place.members.has(me.id))
          .sort((a, b) => Date.parse(b.log.at(-1)?.at ?? "") - Date.parse(a.log.at(-1)?.at ?? ""))
          .map((place) => server.summary(place, me.id)),
      );
    case "users": {
      if (parts[1] !== undefined) {
        const user = server.publicUser(parts[1]);
        return user === undefined ? problem(404, "not_found") : { status: 200, body: user };
      }
      const wanted = (query.get("query") ?? "").toLowerCase();
      const found = [...server.users.values()].filter((user) =>
        `${user.username} ${user.display_name}`.toLowerCase().includes(wanted),
      );
      return page(found.map((user) => server.publicUser(user.id)));
    }
    case "rooms": {
      const wanted = (query.get("query") ?? "").toLowerCase();
      const rooms = [...server.places.values()].filter(
        (place) =>
          place.kind === "room" &&
          place.visibility === "public" &&
          (place.title ?? "").toLowerCase().includes(wanted),
      );
      return page(rooms.map((place) => server.summary(place, me.id)));
    }
    case "conversations":
      return parts[1] === undefined
        ? create(server, me, body)
        : inPlace(server, me, asked.method, parts[1], parts[2], query);
    default:
      return problem(404, "not_found");
  }
}

function auth(server: FakeServer, browser: Browser, what: string, body: Record<string, unknown>): Answered {
  const username = String(body.username ?? "");
  const known = [...server.users.values()].find((user) => user.username === username);
  if (what === "logout") {
    server.cut(browser, 4401);
    browser.user = null;
    return { status: 204, body: null };
  }
  if (what === "register") {
    if (known !== undefined) return problem(409, "conflict", { username: "taken" });
    const user = server.addUser(username, String(body.display_name ?? username));
    server.users.set(user.id, { ...user, password: String(body.password) });
    browser.user = user;
    return { status: 201, body: { user, token: "t" } };
  }
  if (known === undefined || known.password !== body.password) return problem(401, "unauthenticated");
  browser.user = server.publicUser(known.id) ?? null;
  return { status: 200, body: { user: browser.user, token: "t" } };
}

function create(server: FakeServer, me: User, body: Record<string, unknown>): Answered {
  const kind = body.kind as Place["kind"];
  const members = ((body.members as string[] | undefined) ?? []).flatMap((id) => server.publicUser(id) ?? []);
  if (kind === "direct") {
    const present = [...server.places.values()].find(
      (place) =>
        place.kind === "direct" &&
        place.members.has(me.id) &&
        members.every(({ id }) => place.members.has(id)),
    );
    if (present) return { status: 200, body: server.summary(present, me.id) };
  }
  const id = server.addPlace({
    kind,
    by: me,
    members,
    ...(body.title === undefined ? {} : { title: String(body.title) }),
    ...(body.topic === undefined ? {} : { topic: String(body.topic) }),
    ...(body.visibility === undefined ? {} : { visibility: body.visibility as Visibility }),
  });
  return { status: 201, body: server.summary(server.place(id), me.id) };
}

function inPlace(
  server: FakeServer,
  me: User,
  method: string,
  id: string,
  what: string | undefined,
  query: URLSearchParams,
): Answered {
  const place = server.places.get(id);
  const inside = place?.members.has(me.id) ?? false;
  if (place === undefined || (!inside && place.visibility === "private")) return problem(404, "not_found");
  if (what === undefined) return { status: 200, body: server.summary(place, me.id) };
  if (what === "join" && method === "POST") {
    if (!inside) {
      place.members.set(me.id, { role: "member", joinedNo: server.headNo(place) });
      server.tell(me.id, [{ t: "added", conversation: server.summary(place, me.id) }]);
      server.append(place, me.id, { kind: "member_added", data: { user_id: me.id, role: "member" } });
    }
    return { status: 200, body: server.summary(place, me.id) };
  }
  if (!inside) return problem(403, "forbidden");
  if (what === "leave") {
    server.removeMember(id, me);
    return { status: 204, body: null };
  }
  if (what === "members") {
    return page(
      [...place.members].map(([user, { role, joinedNo }]) => ({
        user: server.publicUser(user),
        role,
        joined_at: place.log[0]?.at,
        joined_no: joinedNo,
      })),
    );
  }
  if (what === "events") {
    const from = Number(query.get("from_seq") ?? 1);
    const limit = Number(query.get("limit") ?? PAGE);
    const all = place.log.filter((event) => event.seq >= from);
    return page(all.slice(0, limit), all.length > limit);
  }
  return history(server, place, me.id, query);
}

function history(server: FakeServer, place: Place, reader: string, query: URLSearchParams): Answered {
  const limit = Number(query.get("limit") ?? PAGE);
  const all = place.log.flatMap((event) => server.asMessage(event, reader) ?? []);
  const number = (name: string) => (query.has(name) ? Number(query.get(name)) : null);
  const after = number("after_no");
  const around = number("around_no");
  const before = number("before_no") ?? Number.POSITIVE_INFINITY;
  if (after !== null) {
    const later = all.filter((message) => message.message_no > after);
    return page(later.slice(0, limit), later.length > limit);
  }
  if (around !== null) {
    const from = Math.max(0, around - 1 - Math.floor(limit / 2));
    return page(all.slice(from, from + limit));
  }
  const earlier = all.filter((message) => message.message_no < before);
  return page(earlier.slice(-limit), earlier.length > limit);
}

function page(items: readonly unknown[], more = false): Answered {
  return { status: 200, body: { items, next_cursor: more ? "more" : null } };
}

function problem(status: number, code: ErrorCode, fields?: Record<string, string>): Answered {
  return {
    status,
    body: {
      type: "about:blank",
      title: code,
      status,
      code,
      detail: code,
      request_id: "r",
      ...(fields ? { fields } : {}),
    },
  };
}
