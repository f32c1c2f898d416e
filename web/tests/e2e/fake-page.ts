/** A browser page on the built client and a fake server: no port, no process. The bundle comes from `dist` under a strict policy. */
import { existsSync, readFileSync } from "node:fs";
import { extname, resolve } from "node:path";
import type { BrowserContext, Page } from "@playwright/test";
import { Browser, type FakeServer } from "../fake-server.ts";

const DIST = resolve(import.meta.dirname, "../../dist");
export const ORIGIN = "http://127.0.0.1:4999";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

export async function openOn(
  server: FakeServer,
  context: BrowserContext,
  browser = new Browser(),
): Promise<Page> {
  const page = await context.newPage();
  await page.routeWebSocket(/\/api\/v1\/ws$/, (socket) => {
    const line = server.connect(browser, {
      opened: () => undefined,
      received: (payload) => socket.send(payload),
      closed: (code) => void socket.close({ code: code === 1006 ? 4000 : code }),
    });
    socket.onMessage((message) => line.send(String(message)));
    socket.onClose(() => line.close(1000));
  });
  await page.route(`${ORIGIN}/**`, async (route) => {
    const request = route.request();
    const url = new URL(request.url());
    if (url.pathname.startsWith("/api/v1")) {
      if (server.down) return route.abort();
      const answer = server.handle(browser, {
        method: request.method(),
        path: `${url.pathname.replace("/api/v1", "")}${url.search}`,
        body: request.postData() === null ? undefined : (request.postDataJSON() as unknown),
      });
      return route.fulfill({ status: answer.status, json: answer.body, contentType: "application/json" });
    }
    const file = resolve(DIST, `.${url.pathname}`);
    const found = url.pathname !== "/" && existsSync(file) ? file : resolve(DIST, "index.html");
    return route.fulfill({
      body: readFileSync(found),
      contentType: TYPES[extname(found)] ?? "application/octet-stream",
      headers: { "content-security-policy": "default-src 'self'; frame-ancestors 'none'" },
    });
  });
  return page;
}
