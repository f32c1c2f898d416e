import { memo } from "react";
import { isEmojiOnly, parseText } from "../../lib/text.ts";

/** A message's text as text nodes and links. The text itself decides its direction. */
export const MessageText = memo(function MessageText({ body }: { readonly body: string }) {
  return (
    <div className="text" dir="auto" data-jumbo={isEmojiOnly(body) || undefined}>
      {parseText(body).map((paragraph, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a message's paragraphs have no identity but their place
        <p key={at} dir="auto">
          {paragraph.map((line, lineAt) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: nor have its lines
            <span key={lineAt}>
              {lineAt > 0 ? <br /> : null}
              {line.map((part, partAt) =>
                part.is === "text" ? (
                  part.text
                ) : (
                  // biome-ignore lint/suspicious/noArrayIndexKey: nor its parts
                  <a key={partAt} href={part.href} target="_blank" rel="noopener noreferrer nofollow">
                    {part.text}
                  </a>
                ),
              )}
            </span>
          ))}
        </p>
      ))}
    </div>
  );
});
