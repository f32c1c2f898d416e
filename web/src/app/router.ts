/** The address bar as a value. The only place that touches `history`. */
import { Observable } from "../lib/observable.ts";

export interface Router {
  readonly path: Observable<string>;
  go(path: string, how?: "push" | "replace"): void;
}

export function createRouter(view: Window): Router {
  const path = new Observable(view.location.pathname);
  view.addEventListener("popstate", () => path.set(view.location.pathname));
  return {
    path,
    go(next, how = "push") {
      if (next === path.get()) return;
      if (how === "replace") view.history.replaceState(null, "", next);
      else view.history.pushState(null, "", next);
      path.set(next);
    },
  };
}
