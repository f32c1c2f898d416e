/** Ids with a brand, so that a user's id cannot be passed where a conversation's is meant. Minted in this folder and by `newCommandId` only. */
declare const brand: unique symbol;

export type ConversationId = string & { readonly [brand]: "conversation" };
export type UserId = string & { readonly [brand]: "user" };
export type CommandId = string & { readonly [brand]: "command" };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function canonical(text: string): string | null {
  const lower = text.toLowerCase();
  return UUID.test(lower) ? lower : null;
}

export const conversationId = (text: string): ConversationId | null =>
  canonical(text) as ConversationId | null;
export const userId = (text: string): UserId | null => canonical(text) as UserId | null;
export const commandId = (text: string): CommandId | null => canonical(text) as CommandId | null;
