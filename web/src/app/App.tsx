/** Chooses the screen: opening, signing in, or chatting. Remembers where someone wanted to go before they signed in. */
import { useEffect, useMemo } from "react";
import type { Api } from "../api/api.ts";
import { ChatContext, useReadable } from "../features/chat.ts";
import { AuthForm } from "../features/session/AuthForm.tsx";
import { parseRoute } from "../lib/route.ts";
import { strings } from "../lib/strings.ts";
import { Waiting } from "../ui/Notice.tsx";
import { NavigationContext } from "../ui/navigation.tsx";
import type { User } from "../wire/types.ts";
import { ErrorBoundary } from "./ErrorBoundary.tsx";
import { Main } from "./Main.tsx";
import type { Router } from "./router.ts";
import type { SessionKeeper } from "./session.ts";

export interface AppProps {
  readonly keeper: SessionKeeper;
  readonly router: Router;
  readonly api: Api;
}

export function App({ keeper, router, api }: AppProps) {
  const session = useReadable(keeper.session);
  const path = useReadable(router.path);
  const navigation = useMemo(() => ({ path, go: router.go }), [path, router]);
  return (
    <NavigationContext value={navigation}>
      <ErrorBoundary>
        {session.at === "booting" ? <Booting unreachable={session.unreachable} /> : null}
        {session.at === "guest" ? (
          <Guest keeper={keeper} router={router} api={api} path={path} ended={session.ended} />
        ) : null}
        {session.at === "in" ? (
          <ChatContext value={session.chat}>
            <Main onLogOut={() => void keeper.logOut().then(() => router.go("/login"))} />
          </ChatContext>
        ) : null}
      </ErrorBoundary>
    </NavigationContext>
  );
}

function Booting({ unreachable }: { readonly unreachable: boolean }) {
  return (
    <main className="boot">
      <Waiting label={strings.booting} />
      <p role="status">{unreachable ? strings.unreachable : ""}</p>
    </main>
  );
}

interface GuestProps extends AppProps {
  readonly path: string;
  readonly ended: boolean;
}

function Guest({ keeper, router, api, path, ended }: GuestProps) {
  const route = parseRoute(path);
  const mode = route.at === "register" ? "register" : "login";
  useEffect(() => {
    document.title = strings.product;
  }, []);
  function onSignedIn(user: User) {
    if (route.at === "login" || route.at === "register") router.go("/", "replace");
    keeper.signedIn(user);
  }
  return (
    <AuthForm
      key={mode}
      mode={mode}
      api={api}
      notice={ended ? strings.session.ended : null}
      onSignedIn={onSignedIn}
    />
  );
}
