/** Links that change the address without loading a page. Everything a browser does with links (new tab, copy) still works. */
import { type AnchorHTMLAttributes, createContext, type MouseEvent, useContext } from "react";

export interface Navigation {
  readonly path: string;
  go(path: string, how?: "push" | "replace"): void;
}

export const NavigationContext = createContext<Navigation>({ path: "/", go: () => undefined });

export const useNavigation = (): Navigation => useContext(NavigationContext);

export function Link(props: AnchorHTMLAttributes<HTMLAnchorElement> & { readonly href: string }) {
  const { href, onClick, children, ...rest } = props;
  const navigation = useNavigation();
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (event.defaultPrevented || !plain) return;
    event.preventDefault();
    navigation.go(href);
  };
  return (
    <a {...rest} href={href} onClick={follow}>
      {children}
    </a>
  );
}
