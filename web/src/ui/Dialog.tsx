import { type ReactNode, useEffect, useId, useRef } from "react";
import { strings } from "../lib/strings.ts";
import { IconButton } from "./Button.tsx";

/** A modal on the platform's own `<dialog>`: focus, Escape and inertness of the rest are the browser's work. */
export function Dialog(props: {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}) {
  const { title, onClose, children } = props;
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog !== null && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      className="dialog"
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onPointerDown={(event) => {
        if (event.target === event.currentTarget) onClose();
      }}
    >
      <div className="dialog-body">
        <header className="dialog-head">
          <h2 id={heading}>{title}</h2>
          <IconButton icon="close" label={strings.close} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}
