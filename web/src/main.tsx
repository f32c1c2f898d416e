/** Composition root: the one place where clock, randomness, network, storage and screen meet. Read `app/App.tsx` next. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createApi } from "./api/api.ts";
import { App } from "./app/App.tsx";
import { createChat } from "./app/chat.ts";
import { createRouter } from "./app/router.ts";
import { createSessionKeeper } from "./app/session.ts";
import { browserVault } from "./app/vault.ts";
import { browserClock, browserRandom } from "./lib/clock.ts";
import { uuidv7 } from "./lib/ids.ts";
import { memoryLogger } from "./lib/logger.ts";
import { browserTransport, socketUrl } from "./socket/transport.ts";
import "./ui/tokens.css";
import "./ui/base.css";
import "./features/session/session.css";
import "./features/inbox/inbox.css";
import "./features/timeline/timeline.css";
import "./features/composer/composer.css";
import "./features/discover/discover.css";
import "./app/app.css";

const DEVICE_KEY = "hubbub.device";

/** The same name for this browser at every visit; a fresh one where storage is closed to us. */
function deviceId(): string {
  const fresh = uuidv7(browserClock.now(), browserRandom);
  try {
    const known = localStorage.getItem(DEVICE_KEY);
    if (known !== null) return known;
    localStorage.setItem(DEVICE_KEY, fresh);
  } catch {
    // Private windows may refuse; then this visit is a device of its own.
  }
  return fresh;
}

const logger = memoryLogger();
const api = createApi((path, init) => fetch(path, init));
const transport = browserTransport(socketUrl(window.location));
const router = createRouter(window);
const keeper = createSessionKeeper({
  api,
  clock: browserClock,
  random: browserRandom,
  open: (me) =>
    createChat({
      me,
      api,
      transport,
      vault: browserVault(me.id, logger),
      clock: browserClock,
      random: browserRandom,
      logger,
      deviceId: deviceId(),
      version: __APP_VERSION__,
    }),
});

Object.assign(window, { hubbubLog: logger.notes });

const root = document.getElementById("root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <App keeper={keeper} router={router} api={api} />
    </StrictMode>,
  );
  void keeper.boot();
}
