/**
 * The whole chat with its real server and two people in two browsers. Few and long: the details are proved below, this proves that the
 * parts are connected.
 */
import { AxeBuilder } from "@axe-core/playwright";
import {
  type Browser,
  type BrowserContext,
  expect,
  type Page,
  test,
  type WebSocketRoute,
} from "@playwright/test";
import { RealServer } from "./server.ts";

test.describe.configure({ mode: "serial" });

let server: RealServer;

test.beforeAll(async () => {
  server = await RealServer.create();
});

test.afterAll(async () => {
  await server.remove();
});

interface Person {
  readonly context: BrowserContext;
  readonly page: Page;
  readonly name: string;
  readonly username: string;
  readonly problems: string[];
}

const log = (page: Page) => page.getByRole("log", { name: "Messages" });
const box = (page: Page) => page.getByRole("textbox", { name: /^Message / });
const row = (page: Page, title: string) => page.getByRole("link", { name: new RegExp(`^${title}`) });
const said = (page: Page, text: string) => log(page).getByText(text, { exact: true });

let people = 0;

/** Registers a new person through the form, as anyone would. */
async function arrive(browser: Browser, name: string): Promise<Person> {
  people += 1;
  const username = `${name.toLowerCase()}${people}${Date.now() % 100_000}`;
  const context = await browser.newContext({ baseURL: server.origin, locale: "en-GB" });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && /Content Security Policy/i.test(message.text()))
      problems.push(message.text());
  });
  await page.goto("/register");
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Username").fill(username);
  await page.getByLabel("Password", { exact: true }).fill("a quiet river under old stones");
  await page.getByRole("button", { name: "Create account" }).click();
  await live(page);
  return { context, page, name, username, problems };
}

async function live(page: Page): Promise<void> {
  await expect(page.getByRole("status").filter({ hasText: "Connected" })).toBeAttached();
}

async function say(page: Page, text: string): Promise<void> {
  await box(page).fill(text);
  await box(page).press("Enter");
}

async function startDirect(from: Person, to: Person): Promise<string> {
  await from.page.getByRole("button", { name: "New conversation" }).first().click();
  await from.page.getByRole("searchbox", { name: "Find people" }).fill(to.username);
  await from.page.getByRole("button", { name: `${to.name}, @${to.username}` }).click();
  await expect(from.page.getByRole("heading", { level: 1, name: to.name })).toBeVisible();
  return new URL(from.page.url()).pathname;
}

/** Stores a message over REST, as fast as the server's budget lets it. */
async function store(from: Person, conversation: string, body: string): Promise<void> {
  await expect(async () => {
    const answer = await from.page.request.post(`/api/v1/conversations/${conversation}/messages`, {
      data: { body },
      headers: { origin: server.origin },
    });
    expect(answer.status(), await answer.text()).toBe(201);
  }).toPass({ intervals: [200, 500, 1_000] });
}

async function leave(...all: readonly Person[]): Promise<void> {
  for (const { context, problems } of all) {
    expect(problems).toEqual([]);
    await context.close();
  }
}

test("two people meet, chat, reload, and find everything and exact counts again", async ({ browser }) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  const path = await startDirect(ada, bob);

  await say(ada.page, "hello bob");
  await expect(said(ada.page, "hello bob")).toBeVisible();
  await expect(log(ada.page).getByText("Sent")).toHaveCount(1);
  await say(ada.page, "are you there?");
  await expect(row(bob.page, "Ada")).toContainText("2 unread messages");

  await row(bob.page, "Ada").click();
  await expect(said(bob.page, "are you there?")).toBeVisible();
  await expect(row(bob.page, "Ada")).not.toContainText("unread");
  await box(bob.page).pressSequentially("hi ");
  await expect(ada.page.getByText("Bob is typing…", { exact: true })).toBeVisible();
  await say(bob.page, "hi ada");
  await expect(said(ada.page, "hi ada")).toBeVisible();

  await ada.page.reload();
  await live(ada.page);
  expect(new URL(ada.page.url()).pathname).toBe(path);
  for (const text of ["hello bob", "are you there?", "hi ada"])
    await expect(said(ada.page, text)).toBeVisible();
  await expect(row(ada.page, "Bob")).not.toContainText("unread");

  await bob.page.goto("/rooms");
  await live(bob.page);
  for (const text of ["one", "two", "three"]) await say(ada.page, text);
  await expect(row(bob.page, "Ada")).toContainText("3 unread messages");
  await bob.page.reload();
  await expect(row(bob.page, "Ada")).toContainText("3 unread messages");

  const { violations } = await new AxeBuilder({ page: ada.page }).analyze();
  expect(
    violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id }) => id),
  ).toEqual([]);
  await ada.page.screenshot({ path: "test-results/real-ada.png" });
  await bob.page.screenshot({ path: "test-results/real-bob.png" });
  await leave(ada, bob);
});

test("an incoming message erases no draft and switches no conversation", async ({ browser }) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  const cy = await arrive(browser, "Cyrus");
  const withBob = await startDirect(ada, bob);
  await say(ada.page, "hello");
  await startDirect(cy, ada);
  await say(cy.page, "psst");
  await expect(row(ada.page, "Cyrus")).toContainText("1 unread message");

  await box(ada.page).fill("half a thought");
  await row(bob.page, "Ada").click();
  await say(bob.page, "interrupting");
  await say(cy.page, "psst again");
  await expect(said(ada.page, "interrupting")).toBeVisible();
  await expect(row(ada.page, "Cyrus")).toContainText("2 unread messages");
  await expect(box(ada.page)).toHaveValue("half a thought");
  expect(new URL(ada.page.url()).pathname).toBe(withBob);

  await row(ada.page, "Cyrus").click();
  await expect(box(ada.page)).toHaveValue("");
  await row(ada.page, "Bob").click();
  await expect(box(ada.page)).toHaveValue("half a thought");
  // A draft survives a reload as well, once typing has rested.
  await expect(async () => {
    await ada.page.reload();
    await expect(box(ada.page)).toHaveValue("half a thought", { timeout: 5_000 });
  }).toPass();
  await leave(ada, bob, cy);
});

test("history pages upwards without a jump", async ({ browser }) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  const path = await startDirect(ada, bob);
  const id = path.split("/")[2] ?? "";
  for (let no = 1; no <= 130; no += 1) await store(ada, id, `line ${no}`);
  await bob.page.goto(path);
  await expect(said(bob.page, "line 130")).toBeVisible();
  await log(bob.page).hover();
  await expect(async () => {
    await bob.page.mouse.wheel(0, -900);
    await expect(said(bob.page, "line 1")).toBeVisible({ timeout: 300 });
  }).toPass();
  await expect(bob.page.getByText("This is where it begins.")).toBeVisible();
  await leave(ada, bob);
});

test("a room is made, found, joined and spoken in", async ({ browser }) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  const title = `Kitchen ${ada.username}`;
  await ada.page.getByRole("button", { name: "New conversation" }).first().click();
  await ada.page.getByText("Room", { exact: true }).click();
  await ada.page.getByRole("textbox", { name: "Room name" }).fill(title);
  await ada.page.getByRole("button", { name: "Create room" }).click();
  await expect(ada.page.getByRole("heading", { level: 1, name: title })).toBeVisible();
  await say(ada.page, "soup is on");

  await bob.page.getByRole("link", { name: "Discover rooms" }).click();
  await bob.page.getByRole("searchbox", { name: "Search rooms" }).fill(title);
  await bob.page.getByRole("button", { name: `Join ${title}` }).click();
  await expect(said(bob.page, "soup is on")).toBeVisible();
  await say(bob.page, "on my way");
  await expect(said(ada.page, "on my way")).toBeVisible();
  await ada.page.getByRole("button", { name: "Show members" }).click();
  await expect(ada.page.getByRole("dialog").getByText(`@${bob.username}`)).toBeVisible();
  await leave(ada, bob);
});

test("after kill -9 the client comes back by itself and sends what waited, once", async ({ browser }) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  await startDirect(ada, bob);
  await say(ada.page, "before");
  await row(bob.page, "Ada").click();
  await expect(said(bob.page, "before")).toBeVisible();

  await server.kill();
  await expect(ada.page.getByText(/Reconnecting/).first()).toBeVisible();
  await say(ada.page, "written in the dark");
  await expect(log(ada.page).getByText("Waiting to send")).toBeAttached();
  await server.start();
  await live(ada.page);
  await live(bob.page);
  await expect(said(bob.page, "written in the dark")).toBeVisible();
  await expect(log(ada.page).getByText("Waiting to send")).toHaveCount(0);
  await say(bob.page, "welcome back");
  await expect(said(ada.page, "welcome back")).toBeVisible();

  await ada.page.reload();
  await expect(said(ada.page, "welcome back")).toBeVisible();
  await expect(said(ada.page, "written in the dark")).toHaveCount(1);
  await expect(said(ada.page, "before")).toHaveCount(1);
  await leave(ada, bob);
});

test("whoever reads the end goes on reading it when others' messages come in before own ones that waited", async ({
  browser,
}) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  let down = false;
  const lines: WebSocketRoute[] = [];
  await ada.page.routeWebSocket(/\/api\/v1\/ws$/, (socket) => {
    if (down) return void socket.close({ code: 4503 });
    socket.connectToServer();
    lines.push(socket);
  });
  await startDirect(ada, bob);
  await ada.page.reload();
  await live(ada.page);
  await say(ada.page, "before");
  await row(bob.page, "Ada").click();
  await expect(said(bob.page, "before")).toBeVisible();

  down = true;
  await lines.at(-1)?.close({ code: 4503 });
  await expect(ada.page.getByText(/Reconnecting/).first()).toBeVisible();
  for (let no = 1; no <= 8; no += 1) {
    await say(ada.page, `ada ${no}`);
    await say(bob.page, `bob ${no}`);
  }
  await expect(log(bob.page).getByText("Waiting to send")).toHaveCount(0);
  down = false;
  await live(ada.page);
  await expect(said(bob.page, "ada 8")).toBeVisible();
  await expect(said(ada.page, "bob 8")).toBeAttached();
  await expect(log(ada.page).getByText("Waiting to send")).toHaveCount(0);
  await expect(said(ada.page, "ada 8")).toBeInViewport();
  await leave(ada, bob);
});

test("what waits to be sent outlives its page, and is sent once", async ({ browser }) => {
  const ada = await arrive(browser, "Ada");
  const bob = await arrive(browser, "Bob");
  const path = await startDirect(ada, bob);
  await row(bob.page, "Ada").click();
  // A second window of ada's whose socket never opens.
  const cut = await ada.context.newPage();
  await cut.routeWebSocket(/\/api\/v1\/ws$/, (socket) => void socket.close({ code: 4503 }));
  await cut.goto(path);
  await expect(cut.getByText(/Reconnecting/).first()).toBeVisible();
  // Without a line it still shows what it can read.
  await expect(box(cut)).toBeVisible();
  await say(cut, "kept on this device");
  await expect(log(cut).getByText("Waiting to send")).toBeAttached();
  await cut.close();
  await ada.page.reload();
  await expect(said(bob.page, "kept on this device")).toHaveCount(1);
  await expect(log(ada.page).getByText("Waiting to send")).toHaveCount(0);
  await expect(said(ada.page, "kept on this device")).toHaveCount(1);
  await leave(ada, bob);
});

test("logging out ends the session in every window, and the next log-in finds everything", async ({
  browser,
}) => {
  const ada = await arrive(browser, "Ada");
  const second = await ada.context.newPage();
  await second.goto("/");
  await live(second);
  await ada.page.getByRole("button", { name: "Log out" }).click();
  await expect(ada.page.getByRole("heading", { name: "Welcome back" })).toBeVisible();
  await expect(second.getByText("Your session has ended. Log in to continue.")).toBeVisible();
  await ada.page.getByLabel("Username").fill(ada.username);
  await ada.page.getByLabel("Password", { exact: true }).fill("wrong password entirely");
  await ada.page.getByRole("button", { name: "Log in" }).click();
  await expect(ada.page.getByRole("alert")).not.toBeEmpty();
  await ada.page.getByLabel("Password", { exact: true }).fill("a quiet river under old stones");
  await ada.page.getByRole("button", { name: "Log in" }).click();
  await live(ada.page);
  await leave(ada);
});
