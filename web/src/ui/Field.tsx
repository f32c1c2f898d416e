import { type InputHTMLAttributes, type ReactNode, useId } from "react";

type Native = Omit<InputHTMLAttributes<HTMLInputElement>, "className" | "id">;

/** A labelled input with room for a hint and for what is wrong. */
export function Field(
  props: Native & {
    readonly label: string;
    readonly hint?: string;
    readonly problem?: string | undefined;
    readonly trailing?: ReactNode;
  },
) {
  const { label, hint, problem, trailing, ...rest } = props;
  const id = useId();
  const note = problem ?? hint;
  return (
    <div className="field" data-problem={problem !== undefined || undefined}>
      <label htmlFor={id}>{label}</label>
      <span className="field-box">
        <input
          {...rest}
          id={id}
          aria-invalid={problem !== undefined || undefined}
          aria-describedby={note === undefined ? undefined : `${id}-note`}
        />
        {trailing}
      </span>
      {note === undefined ? null : (
        <span className="field-note" id={`${id}-note`}>
          {note}
        </span>
      )}
    </div>
  );
}

/** A search box: its label is read, not shown. */
export function SearchField(props: Native & { readonly label: string }) {
  const { label, ...rest } = props;
  return (
    <input
      {...rest}
      type="search"
      className="search"
      aria-label={label}
      placeholder={label}
      autoComplete="off"
    />
  );
}
