/** Scrolling is a matter of pixels, so it is tested where there are some: the built client in a browser, on the fake server. */
import { type Browser as Chromium, expect, type Page, test } from "@playwright/test";
import { seeded } from "../fake-clock.ts";
import { Browser, FakeServer } from "../fake-server.ts";
import { ORIGIN, openOn } from "./fake-page.ts";

/** Rounding of scaled layouts; more is a jump. */
const PIXELS = 2;

async function reading(chromium: Chromium, lines: number) {
  const server = new FakeServer(() => Date.now(), seeded(3));
  const ada = server.addUser("ada", "Ada");
  const bob = server.addUser("bob", "Bob");
  const place = server.addPlace({ kind: "direct", by: ada, members: [bob] });
  const random = seeded(11);
  const start = Date.now() - lines * 60_000;
  for (let no = 1; no <= lines; no += 1) {
    const words = Array.from({ length: 1 + Math.floor(random() * 60) }, () => "word").join(" ");
    server.say(place, random() < 0.5 ? ada : bob, `line ${no} ${words}`, start + no * 60_000);
  }
  server.place(place).marks.set(ada.id, lines);
  const browser = new Browser();
  browser.user = ada;
  const context = await chromium.newContext({ viewport: { width: 900, height: 700 } });
  const page = await openOn(server, context, browser);
  await page.goto(`${ORIGIN}/c/${place}`);
  await expect(line(page, lines)).toBeVisible();
  return { server, page, place, ada, bob, context };
}

const log = (page: Page) => page.getByRole("log", { name: "Messages" });
const line = (page: Page, no: number) => log(page).getByText(new RegExp(`^line ${no} `));
const distanceToEnd = (page: Page) =>
  log(page).evaluate((view) => Math.round(view.scrollHeight - view.scrollTop - view.clientHeight));

/** The topmost whole line in view and where it is. */
async function anchor(page: Page): Promise<{ no: number; top: number }> {
  return log(page).evaluate((view) => {
    const from = view.getBoundingClientRect().top;
    for (const article of view.querySelectorAll("article")) {
      const { top } = article.getBoundingClientRect();
      const no = Number(/line (\d+) /.exec(article.textContent ?? "")?.[1]);
      if (top >= from && no > 0) return { no, top };
    }
    throw new Error("no line in view");
  });
}

const topOf = (page: Page, no: number) =>
  line(page, no).evaluate((text) => text.closest("article")?.getBoundingClientRect().top ?? 0);

test("earlier messages arrive above without moving what is read", async ({ browser }) => {
  const { page, context, server, bob, place } = await reading(browser, 400);
  expect(await distanceToEnd(page)).toBeLessThanOrEqual(PIXELS);
  await log(page).hover();
  let pages = server.asked.filter((path) => path.includes("before_no")).length;
  for (let turn = 0; turn < 40 && pages < 6; turn += 1) {
    await page.mouse.wheel(0, -600);
    await page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
    const before = await anchor(page);
    // Whatever was asked for arrives and is laid out while nobody touches the wheel.
    await expect(page.getByText("Loading earlier messages…")).toHaveCount(0);
    await page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    );
    const asked = server.asked.filter((path) => path.includes("before_no")).length;
    if (asked > pages)
      expect(Math.abs((await topOf(page, before.no)) - before.top)).toBeLessThanOrEqual(PIXELS);
    pages = asked;
  }
  expect(pages).toBeGreaterThan(3);

  // Someone reading history is left there by a new message, and told of it.
  const before = await anchor(page);
  server.say(place, bob, "line 401 and news");
  await expect(page.getByRole("button", { name: "1 new message below" })).toBeVisible();
  expect(Math.abs((await topOf(page, before.no)) - before.top)).toBeLessThanOrEqual(PIXELS);
  expect(server.place(place).marks.get(bob.id)).toBe(401);
  await page.getByRole("button", { name: "1 new message below" }).click();
  await expect(line(page, 401)).toBeInViewport();
  await expect(page.getByRole("button", { name: /new message/ })).toHaveCount(0);
  await context.close();
});

test("whoever reads the end stays at the end", async ({ browser }) => {
  const { page, context, server, bob, place } = await reading(browser, 60);
  for (let no = 61; no <= 66; no += 1) server.say(place, bob, `line ${no} ${"word ".repeat(no)}`);
  await expect(line(page, 66)).toBeInViewport();
  await expect.poll(() => distanceToEnd(page)).toBeLessThanOrEqual(PIXELS);
  await page.getByRole("textbox", { name: "Message Bob" }).fill("a\nb\nc\nd\ne\nf");
  await expect.poll(() => distanceToEnd(page)).toBeLessThanOrEqual(PIXELS);
  await page.setViewportSize({ width: 600, height: 420 });
  await expect.poll(() => distanceToEnd(page)).toBeLessThanOrEqual(PIXELS);
  await context.close();
});

test("the unread mark is where reading goes on", async ({ browser }) => {
  const { page, context, server, bob, place } = await reading(browser, 60);
  await page.goto(`${ORIGIN}/rooms`);
  for (let no = 61; no <= 90; no += 1) server.say(place, bob, `line ${no} ${"word ".repeat(20)}`);
  await page.getByRole("link", { name: /^Bob/ }).click();
  await expect(page.getByText("New messages", { exact: true })).toBeInViewport();
  await expect(line(page, 61)).toBeInViewport();
  await expect(page.getByRole("link", { name: /^Bob/ })).toContainText("30 unread messages");
  await page.getByRole("button", { name: "30 new messages below" }).click();
  await expect(line(page, 90)).toBeInViewport();
  await expect(page.getByRole("link", { name: /^Bob/ })).not.toContainText("unread");
  await context.close();
});

test("an address that names a message opens there, marked, and leads on to the present", async ({
  browser,
}) => {
  const { page, context, place } = await reading(browser, 300);
  await page.goto(`${ORIGIN}/c/${place}/120`);
  await expect(line(page, 120)).toBeInViewport();
  await expect(page.locator("article[data-focused]")).toContainText("line 120 ");
  await page.getByRole("button", { name: "Jump to latest" }).click();
  await expect(line(page, 300)).toBeInViewport();
  await context.close();
});

test("a sent message stands in the very next frame", async ({ browser }) => {
  const { page, context } = await reading(browser, 10);
  await page.getByRole("textbox", { name: "Message Bob" }).fill("quick as a key");
  const frames = await page.evaluate(async () => {
    const area = document.querySelector("textarea");
    area?.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    await new Promise((done) => requestAnimationFrame(done));
    return [...document.querySelectorAll("article")].filter((item) =>
      item.textContent?.includes("quick as a key"),
    ).length;
  });
  expect(frames).toBe(1);
  await context.close();
});
