/** The addresses of the client; the path is the only home of "which screen and which conversation". */
export type Route =
  | { readonly at: "inbox" }
  | { readonly at: "login" }
  | { readonly at: "register" }
  | { readonly at: "rooms" }
  | { readonly at: "conversation"; readonly id: string; readonly messageNo: number | null }
  | { readonly at: "unknown" };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function parseRoute(path: string): Route {
  const parts = path.split("/").filter((part) => part !== "");
  const [first, second, third, ...rest] = parts;
  if (first === undefined) return { at: "inbox" };
  if (second === undefined && (first === "login" || first === "register" || first === "rooms"))
    return { at: first };
  if (first === "c" && second !== undefined && UUID.test(second) && rest.length === 0) {
    if (third === undefined) return { at: "conversation", id: second.toLowerCase(), messageNo: null };
    const no = Number(third);
    if (Number.isSafeInteger(no) && no > 0)
      return { at: "conversation", id: second.toLowerCase(), messageNo: no };
  }
  return { at: "unknown" };
}

export function routePath(route: Route): string {
  switch (route.at) {
    case "inbox":
    case "unknown":
      return "/";
    case "conversation":
      return route.messageNo === null ? `/c/${route.id}` : `/c/${route.id}/${route.messageNo}`;
    default:
      return `/${route.at}`;
  }
}
