/**
 * How it looks and reads: the built client on a fake server, in both schemes and both widths, checked by axe and photographed into
 * `test-results/screens` for people to look at.
 */
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser as Chromium, expect, type Page, test } from "@playwright/test";
import type { User } from "../../src/wire/frames.gen.ts";
import { seeded } from "../fake-clock.ts";
import { Browser, FakeServer } from "../fake-server.ts";
import { ORIGIN, openOn } from "./fake-page.ts";

const MINUTE = 60_000;

interface Town {
  readonly server: FakeServer;
  readonly browser: Browser;
  readonly me: User;
  readonly friend: User;
  readonly direct: string;
  readonly room: string;
}

/** A small place with enough going on that every kind of line is on the screen. */
function town(): Town {
  const server = new FakeServer(() => Date.now(), seeded(7));
  const me = server.addUser("ada", "Ada Lindqvist");
  const friend = server.addUser("tomas", "Tomás Rivera");
  const noor = server.addUser("noor", "نور الهاشمي");
  const kim = server.addUser("kim", "Kim Park");
  const direct = server.addPlace({ kind: "direct", by: me, members: [friend] });
  const room = server.addPlace({
    kind: "room",
    by: kim,
    members: [me, friend, noor],
    title: "Garden planning",
    topic: "Beds, seeds and who waters when",
    visibility: "public",
  });
  const group = server.addPlace({ kind: "group", by: friend, members: [me, kim], title: "Saturday hike" });
  server.addPlace({
    kind: "room",
    by: kim,
    title: "Book club",
    topic: "One book a month, no pressure",
    visibility: "public",
  });
  server.addPlace({
    kind: "room",
    by: noor,
    title: "Bicycle repair",
    topic: "Bring your own bicycle",
    visibility: "public",
  });
  const start = Date.now() - 26 * 60 * MINUTE;
  const said = (place: string, by: User, minute: number, body: string) =>
    server.say(place, by, body, start + minute * MINUTE);
  for (let line = 0; line < 70; line += 1) {
    said(
      direct,
      line % 3 === 0 ? me : friend,
      line - 4_000,
      `Earlier note ${line + 1}, about nothing in particular.`,
    );
  }
  said(direct, friend, 2, "Did you get the seedlings home in one piece?");
  said(direct, me, 4, "All but one. The basil did not like the train.");
  said(
    direct,
    me,
    4,
    "I repotted the rest on the balcony:\n\n– tomatoes by the wall\n– beans where the old chair was\n– mint far away from everything, as agreed",
  );
  said(direct, friend, 9, "Very wise. Mint has plans of its own.");
  said(
    direct,
    friend,
    1_530,
    "The watering chart I made is here: https://example.org/garden/chart?week=47. Have a look when you can.",
  );
  said(direct, friend, 1_531, "🌱");
  said(direct, me, 1_534, "Looks good. I can do Tuesdays and the weekend.");
  said(direct, friend, 1_536, "Perfect, that leaves only Thursday. I will ask Noor.");
  said(group, kim, 1_400, "Train leaves 8:14. I will bring the thermos.");
  said(group, friend, 1_410, "I will bring the other thermos.");
  said(room, kim, 1_490, "Soil arrives Friday morning, two cubic metres.");
  said(room, noor, 1_500, "أستطيع المساعدة بعد الظهر إن شاء الله");
  said(room, friend, 1_501, "We need two more shovels and someone with a strong back.");
  said(room, me, 1_502, "I have one shovel and an average back.");
  said(room, kim, 1_520, "That will do nicely. Thank you!");
  for (const [place, no] of [
    [direct, 78],
    [group, 0],
  ] as const) {
    server.place(place).marks.set(me.id, no);
  }
  server.place(room).marks.set(me.id, 4);
  const browser = new Browser();
  browser.user = me;
  return { server, browser, me, friend, direct, room };
}

async function expectNoSeriousViolations(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  expect(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`)).toEqual([]);
}

const log = (page: Page) => page.getByRole("log", { name: "Messages" });

const VIEWS = [
  { name: "desktop", viewport: { width: 1280, height: 800 } },
  { name: "phone", viewport: { width: 390, height: 844 } },
] as const;

async function withPage(
  chromium: Chromium,
  view: (typeof VIEWS)[number],
  scheme: "light" | "dark",
  act: (page: Page, shoot: (what: string) => Promise<void>, place: Town) => Promise<void>,
): Promise<void> {
  const context = await chromium.newContext({
    viewport: view.viewport,
    colorScheme: scheme,
    reducedMotion: "reduce",
    locale: "en-GB",
  });
  const place = town();
  const page = await openOn(place.server, context, place.browser);
  const broken: string[] = [];
  page.on("pageerror", (error) => broken.push(error.message));
  page.on("console", (message) => {
    // The browser itself notes every request that fails, and here some are meant to.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      broken.push(message.text());
  });
  const shoot = async (what: string) => {
    await page.screenshot({ path: `test-results/screens/${what}-${view.name}-${scheme}.png` });
    await expectNoSeriousViolations(page);
  };
  await act(page, shoot, place);
  expect(broken).toEqual([]);
  await context.close();
}

for (const view of VIEWS) {
  for (const scheme of ["light", "dark"] as const) {
    test(`every screen is readable on a ${view.name} in ${scheme}`, async ({ browser: chromium }) => {
      await withPage(
        chromium,
        view,
        scheme,
        async (page, shoot, { server, browser, friend, direct, room }) => {
          browser.user = null;
          await page.goto(`${ORIGIN}/register`);
          await expect(page.getByRole("button", { name: "Create account" })).toBeVisible();
          await shoot("register");

          browser.user = server.users.get([...server.users.keys()][0] ?? "") ?? null;
          await page.goto(`${ORIGIN}/`);
          await expect(page.getByRole("link", { name: /Garden planning/ })).toContainText("1");
          await expect(page.getByText("Connected").first()).toBeVisible();
          await shoot("inbox");

          await page.getByRole("link", { name: /^Tomás Rivera/ }).click();
          await expect(log(page).getByText("Perfect, that leaves only Thursday")).toBeVisible();
          server.typing(direct, friend, true);
          await expect(page.getByText("Tomás Rivera is typing…", { exact: true })).toBeVisible();
          await page
            .getByRole("textbox", { name: "Message Tomás Rivera" })
            .fill("See you there,\nand bring the chart");
          await shoot("direct");

          await page.goto(`${ORIGIN}/c/${room}`);
          await expect(log(page).getByText("That will do nicely")).toBeVisible();
          await shoot("room");
          await page.getByRole("button", { name: "Show members" }).click();
          await expect(page.getByRole("dialog").getByText("@noor")).toBeVisible();
          await shoot("members");
          await page.keyboard.press("Escape");

          await page.goto(`${ORIGIN}/rooms`);
          await expect(page.getByRole("button", { name: "Join Book club" })).toBeVisible();
          await shoot("rooms");

          await page.goto(`${ORIGIN}/`);
          await page.getByRole("button", { name: "New conversation" }).click();
          await page.getByRole("radio", { name: "Group" }).check({ force: true });
          await page.getByRole("textbox", { name: "Group name" }).fill("Seed swap");
          await page.getByRole("searchbox", { name: "Find people" }).fill("i");
          await page.getByRole("button", { name: "Add Kim Park" }).click();
          await shoot("new-group");
          await page.keyboard.press("Escape");

          await page.goto(`${ORIGIN}/c/${direct}`);
          await expect(log(page).getByText("Perfect, that leaves only Thursday")).toBeVisible();
          server.down = true;
          server.cut(browser);
          await expect(
            page.locator(".connection:visible", { hasText: "Reconnecting" }).first(),
          ).toBeVisible();
          await page.getByRole("textbox", { name: "Message Tomás Rivera" }).fill("Written in a tunnel");
          await page.keyboard.press("Enter");
          await expect(log(page).getByText("Waiting to send")).toBeAttached();
          await shoot("offline");
        },
      );
    });
  }
}
