import type { Random } from "./clock.ts";

/** A UUIDv7: the server looks young ids of this version up in memory only, so a fresh send costs no query. */
export function uuidv7(now: number, random: Random): string {
  const time = Math.max(0, Math.floor(now)).toString(16).padStart(12, "0").slice(-12);
  const nibble = (mask: number, bits: number): string =>
    ((Math.floor(random() * 16) & mask) | bits).toString(16);
  const hex = (count: number): string => {
    let digits = "";
    for (let i = 0; i < count; i += 1) digits += nibble(0xf, 0);
    return digits;
  };
  const tail = hex(12);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(3)}-${nibble(0x3, 0x8)}${hex(3)}-${tail}`;
}
