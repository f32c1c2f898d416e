// @vitest-environment happy-dom
import { screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { Main } from "../src/app/Main.tsx";
import { idOf } from "./arrange.ts";
import { screenOfAda } from "./screen.tsx";

/** happy-dom lays nothing out: give everything a size, so that there is a view for virtual rows to be in. */
beforeEach(() => {
  const size = (pixels: number) => ({ configurable: true, get: () => pixels });
  Object.defineProperties(HTMLElement.prototype, {
    clientHeight: size(600),
    clientWidth: size(800),
    offsetHeight: size(60),
    offsetWidth: size(800),
  });
  Object.defineProperty(Element.prototype, "scrollTo", { configurable: true, value: () => undefined });
});

const box = () => screen.getByRole<HTMLTextAreaElement>("textbox", { name: /^Message / });

async function withConversations() {
  const world = await screenOfAda();
  const { server, users } = world;
  const first = server.addPlace({ kind: "direct", by: users.ada, members: [users.bob] });
  const second = server.addPlace({ kind: "group", by: users.bob, members: [users.ada], title: "Hike" });
  server.say(first, users.bob, "hello from bob");
  await world.pass();
  return { ...world, first, second };
}

describe("the signed-in screen", () => {
  it("lists conversations with their exact unread counts, newest first", async () => {
    const { show, server, second, users, does, clock } = await withConversations();
    show(<Main onLogOut={() => undefined} />);
    expect(screen.getByRole("link", { name: /^Bob/ })).toHaveProperty(
      "textContent",
      expect.stringContaining("1 unread message"),
    );
    await clock.advance(1000);
    await does(() => server.say(second, users.bob, "who comes?"));
    await does(() => server.say(second, users.bob, "anyone?"));
    const rows = within(screen.getByRole("list")).getAllByRole("link");
    expect(rows.map((row) => /Hike|Bob/.exec(row.textContent ?? "")?.[0])).toEqual(["Hike", "Bob"]);
    expect(rows[0]?.textContent).toContain("2 unread messages");
  });

  it("keeps a draft through an incoming message and through other conversations", async () => {
    const { show, user, pass, does, server, users, first, second } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    await user.type(box(), "half a thought");
    await pass();
    await does(() => server.say(first, users.bob, "interrupting!"));
    expect(box().value).toBe("half a thought");
    await user.click(screen.getByRole("link", { name: /Hike/ }));
    await pass();
    expect(box().value).toBe("");
    expect(screen.getByRole("link", { name: /^Bob/ }).textContent).toContain("Draft: half a thought");
    await does(() => server.say(second, users.bob, "and here"));
    await user.click(screen.getByRole("link", { name: /^Bob/ }));
    await pass();
    expect(box().value).toBe("half a thought");
  });

  it("stays in the open conversation when another one speaks", async () => {
    const { show, does, server, users, first, second } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    await does(() => server.say(second, users.bob, "look here"));
    expect(screen.getByRole("heading", { level: 1, name: "Bob" })).toBeTruthy();
    expect(window.location.pathname).toBe(`/c/${first}`);
    expect(screen.getByRole("link", { name: /Hike/ }).textContent).toContain("1 unread message");
  });

  it("sends with Enter, breaks the line with Shift Enter, and empties the box", async () => {
    const { show, user, pass, server, first } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    await user.type(box(), "one{Shift>}{Enter}{/Shift}two{Enter}");
    await pass();
    expect(server.messages(first).at(-1)?.body).toBe("one\ntwo");
    expect(box().value).toBe("");
  });

  it("shows a message that waits, and says so", async () => {
    const { show, user, pass, does, server, ada, first } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    await does(() => {
      server.down = true;
      server.cut(ada.browser);
    });
    await user.type(box(), "into the void{Enter}");
    await pass();
    const log = screen.getByRole("log", { name: "Messages" });
    await waitFor(() => expect(within(log).getByText("into the void")).toBeTruthy());
    expect(within(log).getByText("Waiting to send")).toBeTruthy();
    expect(screen.getAllByText(/Reconnecting/).length).toBeGreaterThan(0);
  });

  it("keeps a refused message with its reason, to try again or to discard", async () => {
    const { show, user, pass, server, first } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    server.refusals.push({ code: "forbidden" });
    await user.type(box(), "may I?{Enter}");
    await pass();
    expect(screen.getByText(/You are not allowed to do that here/).getAttribute("role")).toBe("alert");
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await pass();
    expect(server.messages(first).at(-1)?.body).toBe("may I?");
    expect(screen.queryByText(/You are not allowed/)).toBeNull();
  });

  it("says how much too long a message is and does not send it", async () => {
    const { show, user, pass, does, server, first, ada } = await withConversations();
    const limit = ada.model().limits.message_body_bytes;
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    const before = server.messages(first).length;
    await does(() => ada.chat.drafts.set(idOf(first), "x".repeat(limit + 3)));
    expect(screen.getByText("3 bytes too long")).toBeTruthy();
    await user.type(box(), "{Enter}");
    await pass();
    expect(server.messages(first)).toHaveLength(before);
  });

  it("renders what people write as text, never as markup", async () => {
    const { show, does, server, users, first } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${first}`);
    await does(() => server.say(first, users.bob, '<img src=x onerror="alert(1)"> https://example.org'));
    const log = screen.getByRole("log", { name: "Messages" });
    expect(log.querySelector("img")).toBeNull();
    expect(within(log).getByText(/<img src=x/)).toBeTruthy();
    const link = within(log).getByRole("link", { name: "https://example.org" });
    expect(link.getAttribute("rel")).toBe("noopener noreferrer nofollow");
  });

  it("starts a direct conversation with someone found by name", async () => {
    const { show, user, pass, server } = await screenOfAda();
    server.addUser("cy", "Cyrus");
    show(<Main onLogOut={() => undefined} />);
    await user.click(screen.getAllByRole("button", { name: "New conversation" })[0] as HTMLElement);
    await user.type(screen.getByRole("searchbox", { name: "Find people" }), "cyr");
    await pass(500);
    await user.click(screen.getByRole("button", { name: "Cyrus, @cy" }));
    await pass();
    expect(screen.getByRole("heading", { level: 1, name: "Cyrus" })).toBeTruthy();
    expect([...server.places.values()].filter(({ kind }) => kind === "direct")).toHaveLength(1);
  });

  it("creates a room, and joins one that others made", async () => {
    const { show, user, pass, server, users } = await screenOfAda();
    server.addPlace({ kind: "room", by: users.bob, title: "Book club", visibility: "public" });
    show(<Main onLogOut={() => undefined} />, "/rooms");
    await pass(500);
    await user.click(screen.getByRole("button", { name: "Join Book club" }));
    await pass();
    expect(screen.getByRole("heading", { level: 1, name: "Book club" })).toBeTruthy();
    expect(screen.getByText(/Public room · 2 members/)).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "New conversation" }));
    await user.click(screen.getByRole("radio", { name: "Room" }));
    await user.type(screen.getByRole("textbox", { name: "Room name" }), "Kitchen");
    await user.click(screen.getByRole("button", { name: "Create room" }));
    await pass();
    expect(screen.getByRole("heading", { level: 1, name: "Kitchen" })).toBeTruthy();
    expect([...server.places.values()].at(-1)).toMatchObject({
      kind: "room",
      title: "Kitchen",
      visibility: "public",
    });
  });

  it("lists members with their roles", async () => {
    const { show, user, pass, second } = await withConversations();
    show(<Main onLogOut={() => undefined} />, `/c/${second}`);
    await user.click(screen.getByRole("button", { name: "Show members" }));
    await pass();
    const list = within(screen.getByRole("dialog"));
    expect(list.getByText("@bob")).toBeTruthy();
    expect(list.getByText("Owner")).toBeTruthy();
  });

  it("is usable by keyboard: find by name, walk the list, open", async () => {
    const { show, user, pass, second } = await withConversations();
    show(<Main onLogOut={() => undefined} />);
    await user.keyboard("{Control>}k{/Control}");
    expect(document.activeElement).toBe(screen.getByRole("searchbox", { name: "Filter conversations" }));
    await user.keyboard("hik");
    await pass();
    await user.keyboard("{ArrowDown}{Enter}");
    await pass();
    expect(window.location.pathname).toBe(`/c/${second}`);
    await user.keyboard("{Alt>}{ArrowUp}{/Alt}{Alt>}{ArrowDown}{/Alt}");
    await pass();
    expect(screen.getAllByRole("heading", { level: 1 })).toHaveLength(1);
  });

  it("says the same of a conversation that is not there and of one that is not ours", async () => {
    const { show, pass, server, users } = await screenOfAda();
    const hidden = server.addPlace({ kind: "group", by: users.bob, title: "Secret" });
    show(<Main onLogOut={() => undefined} />, `/c/${hidden}`);
    await pass();
    expect(screen.getByRole("heading", { name: "There is nothing here" })).toBeTruthy();
  });
});
