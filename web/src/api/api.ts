/** The REST resources this client uses, by name. One line each; shapes are in `wire`. */
import * as read from "../wire/decode.ts";
import type { ConversationId, UserId } from "../wire/ids.ts";
import type { Reader } from "../wire/shape.ts";
import type {
  Limits,
  LogEvent,
  Member,
  Message,
  Page,
  Room,
  Summary,
  User,
  Visibility,
} from "../wire/types.ts";
import { type Answer, call, type Fetch, type Request } from "./http.ts";

/** Items of one page; PROTOCOL.md allows 1–200. */
export const MESSAGES_PAGE = 50;
const INBOX_PAGE = 100;
const EVENTS_PAGE = 200;
/** A list to choose from; someone not in it types one more letter. */
const PEOPLE_PAGE = 12;
const MEMBERS_PAGE = 200;

export type PageAt =
  | { readonly before: number }
  | { readonly after: number }
  | { readonly around: number }
  | "newest";

export type NewConversation =
  | { readonly kind: "direct"; readonly members: readonly UserId[] }
  | { readonly kind: "group"; readonly members: readonly UserId[]; readonly title: string }
  | {
      readonly kind: "room";
      readonly title: string;
      readonly topic?: string;
      readonly visibility: Visibility;
    };

export interface Api {
  register(body: { username: string; display_name: string; password: string }): Promise<Answer<User>>;
  login(body: { username: string; password: string }): Promise<Answer<User>>;
  logout(): Promise<Answer<null>>;
  me(): Promise<Answer<User>>;
  inbox(cursor: string | null): Promise<Answer<Page<Summary>>>;
  conversation(id: ConversationId): Promise<Answer<Summary>>;
  messages(id: ConversationId, at: PageAt): Promise<Answer<Page<Message>>>;
  events(id: ConversationId, fromSeq: number): Promise<Answer<Page<LogEvent>>>;
  members(id: ConversationId, cursor: string | null): Promise<Answer<Page<Member>>>;
  user(id: UserId): Promise<Answer<User>>;
  findUsers(query: string): Promise<Answer<Page<User>>>;
  rooms(query: string, cursor: string | null): Promise<Answer<Page<Room>>>;
  limits(): Promise<Answer<Limits>>;
  create(conversation: NewConversation, key: string): Promise<Answer<Summary>>;
  join(id: ConversationId, key: string): Promise<Answer<Summary>>;
  leave(id: ConversationId, key: string): Promise<Answer<null>>;
}

const nothing: Reader<null> = () => null;

function pageQuery(at: PageAt): Record<string, number> {
  if (at === "newest") return {};
  if ("before" in at) return { before_no: at.before };
  if ("after" in at) return { after_no: at.after };
  return { around_no: at.around };
}

export function createApi(fetch: Fetch): Api {
  const ask = <T>(request: Request, reader: Reader<T>): Promise<Answer<T>> => call(fetch, request, reader);
  const userOf = async (request: Request): Promise<Answer<User>> => {
    const answer = await ask(request, read.signedIn);
    return answer.ok ? { ok: true, value: answer.value.user } : answer;
  };
  const done = (request: Request): Promise<Answer<null>> => ask(request, nothing);
  return {
    register: (body) => userOf({ method: "POST", path: "/auth/register", body }),
    login: (body) => userOf({ method: "POST", path: "/auth/login", body }),
    logout: () => done({ method: "POST", path: "/auth/logout" }),
    me: () => ask({ method: "GET", path: "/me" }, read.user),
    inbox: (cursor) =>
      ask({ method: "GET", path: "/inbox", query: { limit: INBOX_PAGE, cursor } }, read.pageOf(read.summary)),
    conversation: (id) => ask({ method: "GET", path: `/conversations/${id}` }, read.summary),
    messages: (id, at) =>
      ask(
        {
          method: "GET",
          path: `/conversations/${id}/messages`,
          query: { limit: MESSAGES_PAGE, ...pageQuery(at) },
        },
        read.pageOf(read.message),
      ),
    events: (id, fromSeq) =>
      ask(
        {
          method: "GET",
          path: `/conversations/${id}/events`,
          query: { from_seq: fromSeq, limit: EVENTS_PAGE },
        },
        read.pageOf(read.logEvent),
      ),
    members: (id, cursor) =>
      ask(
        { method: "GET", path: `/conversations/${id}/members`, query: { limit: MEMBERS_PAGE, cursor } },
        read.pageOf(read.member),
      ),
    user: (id) => ask({ method: "GET", path: `/users/${id}` }, read.user),
    findUsers: (query) =>
      ask({ method: "GET", path: "/users", query: { query, limit: PEOPLE_PAGE } }, read.pageOf(read.user)),
    rooms: (query, cursor) =>
      ask(
        { method: "GET", path: "/rooms", query: { query: query === "" ? null : query, cursor } },
        read.pageOf(read.room),
      ),
    limits: () => ask({ method: "GET", path: "/limits" }, read.limits),
    create: (body, key) => ask({ method: "POST", path: "/conversations", body, key }, read.summary),
    join: (id, key) => ask({ method: "POST", path: `/conversations/${id}/join`, key }, read.summary),
    leave: (id, key) => done({ method: "POST", path: `/conversations/${id}/leave`, key }),
  };
}
