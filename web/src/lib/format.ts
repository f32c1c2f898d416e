/** Dates as people say them. The reader's locale and time zone, asked of the browser once. */
import { strings } from "./strings.ts";

const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const dayMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const longDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
const withYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

/** The local day that was asked about last, [from, to); neighbours in a list are nearly always of one day. */
let known = { from: 0, to: 0, day: 0 };

/** A day as one number that rises by one each midnight, local time. */
export function dayNumber(at: number): number {
  if (at < known.from || at >= known.to) {
    const date = new Date(at);
    const [year, month, day] = [date.getFullYear(), date.getMonth(), date.getDate()];
    known = {
      from: new Date(year, month, day).getTime(),
      to: new Date(year, month, day + 1).getTime(),
      day: Math.round(Date.UTC(year, month, day) / 86_400_000),
    };
  }
  return known.day;
}

export const timeOfDay = (at: number): string => clockTime.format(at);
export const fullTime = (at: number): string => full.format(at);

export function dayTitle(at: number, now: number): string {
  const days = dayNumber(now) - dayNumber(at);
  if (days === 0) return strings.timeline.today;
  if (days === 1) return strings.timeline.yesterday;
  return new Date(at).getFullYear() === new Date(now).getFullYear()
    ? longDay.format(at)
    : withYear.format(at);
}

/** For the list: time today, weekday this week, date before. */
export function shortWhen(at: number, now: number): string {
  const days = dayNumber(now) - dayNumber(at);
  if (days <= 0) return clockTime.format(at);
  if (days < 7) return weekday.format(at);
  return dayMonth.format(at);
}
