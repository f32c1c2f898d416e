/** The truth about the line, in words. Quiet while all is well. */
import { useEffect, useState } from "react";
import { strings } from "../lib/strings.ts";
import { isServerSlow } from "../model/selectors.ts";
import type { Connection } from "../socket/connection.ts";
import { Button } from "../ui/Button.tsx";
import { useChat, useModel, useReadable } from "./chat.ts";

const say = strings.connection;

function useOnline(): boolean {
  const [online, setOnline] = useState(() => navigator.onLine);
  useEffect(() => {
    const update = () => setOnline(navigator.onLine);
    window.addEventListener("online", update);
    window.addEventListener("offline", update);
    return () => {
      window.removeEventListener("online", update);
      window.removeEventListener("offline", update);
    };
  }, []);
  return online;
}

interface Shown {
  readonly tone: "good" | "busy" | "bad";
  readonly text: string;
  readonly reason: string;
}

function shown(connection: Connection, online: boolean, slow: boolean): Shown {
  if (connection.at === "live" && slow) return { tone: "busy", text: say.slow, reason: say.slowReason };
  if (connection.at === "live") return { tone: "good", text: say.live, reason: "" };
  const reason = say.reason[connection.reason];
  if (connection.at === "ended") return { tone: "bad", text: say.ended, reason };
  if (!online) return { tone: "bad", text: say.offline, reason: "" };
  if (connection.at === "catching_up") return { tone: "busy", text: say.catchingUp, reason: "" };
  if (connection.reason === "starting" || connection.at === "idle")
    return { tone: "busy", text: say.connecting, reason: "" };
  return { tone: "bad", text: say.reconnecting, reason };
}

function useShown(): Shown {
  return shown(useReadable(useChat().connection), useOnline(), useModel(isServerSlow));
}

export function ConnectionStatus() {
  const chat = useChat();
  const { tone, text, reason } = useShown();
  const waiting = useReadable(chat.connection).at === "waiting";
  return (
    <div className="connection" data-tone={tone}>
      <span className="connection-dot" aria-hidden="true" />
      <span className="connection-text">
        <span>{text}</span>
        {reason === "" ? null : <span className="connection-reason"> {reason}</span>}
      </span>
      {waiting ? <Button onClick={chat.retryNow}>{strings.tryNow}</Button> : null}
    </div>
  );
}

/** Says the same once to screen readers, wherever on the screen it is shown. */
export function ConnectionVoice() {
  const { text, reason } = useShown();
  return (
    <p className="hidden" role="status">
      {text} {reason}
    </p>
  );
}
