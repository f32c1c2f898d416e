/** Renders a part of the screen on a client of the fake server, under happy-dom. */
import { act, cleanup, render } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import type { ReactNode } from "react";
import { afterEach } from "vitest";
import { createRouter } from "../src/app/router.ts";
import { ChatContext, useReadable } from "../src/features/chat.ts";
import { NavigationContext } from "../src/ui/navigation.tsx";
import { type Client, type Stage, stage } from "./arrange.ts";

afterEach(cleanup);

export interface Screen extends Stage {
  readonly ada: Client;
  readonly users: {
    readonly ada: ReturnType<Stage["server"]["addUser"]>;
    readonly bob: ReturnType<Stage["server"]["addUser"]>;
  };
  readonly user: ReturnType<typeof userEvent.setup>;
  /** Lets the fake world move on, with React following. */
  readonly pass: (ms?: number) => Promise<void>;
  /** Something happens elsewhere in the world (not by this person's hand). */
  readonly does: (what: () => unknown) => Promise<void>;
  readonly show: (node: ReactNode, path?: string) => void;
}

function Navigated({
  router,
  children,
}: {
  readonly router: ReturnType<typeof createRouter>;
  readonly children: ReactNode;
}) {
  const path = useReadable(router.path);
  return <NavigationContext value={{ path, go: router.go }}>{children}</NavigationContext>;
}

/** Ada's screen; bob is somewhere else. */
export async function screenOfAda(): Promise<Screen> {
  const set = stage();
  const users = { ada: set.server.addUser("ada", "Ada"), bob: set.server.addUser("bob", "Bob") };
  const ada = await set.client(users.ada);
  const pass = async (ms = 0) => act(async () => set.clock.advance(ms));
  return {
    ...set,
    ada,
    users,
    pass,
    user: userEvent.setup({ delay: null }),
    async does(what) {
      await act(async () => {
        what();
      });
      await pass();
    },
    show(node, path = "/") {
      window.history.replaceState(null, "", path);
      const router = createRouter(window);
      render(
        <ChatContext value={ada.chat}>
          <Navigated router={router}>{node}</Navigated>
        </ChatContext>,
      );
    },
  };
}
