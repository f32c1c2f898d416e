/** Why the connection is as it is: one vocabulary for the machine, the interface and the notes. */
export type Reason =
  | "starting"
  | "network_lost"
  | "unreachable"
  | "silent"
  | "server_restarting"
  | "too_slow"
  | "too_many_sockets"
  | "degraded"
  | "policy"
  | "protocol"
  | "session_ended"
  | "left";

/** The close codes of PROTOCOL.md (rule 6). */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  policy: 1008,
  tooLarge: 1009,
  restart: 1012,
  sessionEnded: 4401,
  tooSlow: 4408,
  tooManySockets: 4429,
  degraded: 4503,
  /** Ours, towards the server: what it sent could not be read. */
  malformed: 4000,
  /** Ours: the server was silent for too long. */
  silent: 4001,
} as const;

/** What a close means; `reached` tells a refused connection from a lost one. */
export function reasonOfClose(code: number, reached: boolean): Reason {
  switch (code) {
    case CLOSE.sessionEnded:
      // Before the welcome it may only mean that our hello was late (a stalled line, a tab put to sleep): REST tells whether it is over.
      return reached ? "session_ended" : "unreachable";
    case CLOSE.restart:
    case CLOSE.goingAway:
      return "server_restarting";
    case CLOSE.tooSlow:
      return "too_slow";
    case CLOSE.tooManySockets:
      return "too_many_sockets";
    case CLOSE.degraded:
      return "degraded";
    case CLOSE.policy:
    case CLOSE.tooLarge:
      return "policy";
    default:
      return reached ? "network_lost" : "unreachable";
  }
}
