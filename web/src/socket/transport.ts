/** The line to the server as the driver sees it. This file holds the only `new WebSocket` of the client. */
export interface TransportEvents {
  opened(): void;
  received(payload: string): void;
  closed(code: number): void;
}

export interface Line {
  send(payload: string): void;
  close(code: number): void;
}

/** Opens a line. After `close` no event of that line may arrive. */
export type Transport = (events: TransportEvents) => Line;

const SUBPROTOCOL = "hubbub.v1";

export function browserTransport(url: string): Transport {
  return (events) => {
    const socket = new WebSocket(url, SUBPROTOCOL);
    let over = false;
    socket.onopen = () => {
      if (!over) events.opened();
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (!over && typeof data === "string") events.received(data);
    };
    socket.onclose = ({ code }) => {
      if (over) return;
      over = true;
      events.closed(code);
    };
    return {
      send: (payload) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(payload);
      },
      close: (code) => {
        over = true;
        socket.close(code);
      },
    };
  };
}

/** Where the socket lives: the page's own origin. */
export function socketUrl(location: { readonly protocol: string; readonly host: string }): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/ws`;
}
