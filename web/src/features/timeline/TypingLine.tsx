import { strings } from "../../lib/strings.ts";
import { nameOf } from "../../model/selectors.ts";
import type { ConversationId } from "../../wire/ids.ts";
import { useModel } from "../chat.ts";

const say = strings.timeline;

export function typingText(names: readonly string[]): string {
  const [one, two, ...others] = names;
  if (one === undefined) return "";
  if (two === undefined) return say.typingOne(one);
  return others.length === 0 ? say.typingTwo(one, two) : say.typingMany;
}

/** A line of fixed height: someone beginning to type must not move what is being read. */
export function TypingLine({ id }: { readonly id: ConversationId }) {
  const typing = useModel((model) => model.conversations.get(id)?.typing);
  const people = useModel((model) => model.people);
  const text = typingText([...(typing?.keys() ?? [])].map((who) => nameOf(people, who)));
  return (
    <p className="typing" data-shown={text !== "" || undefined}>
      {text === "" ? null : (
        <>
          <span className="typing-dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          <bdi>{text}</bdi>
        </>
      )}
    </p>
  );
}
