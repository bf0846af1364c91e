// Numbers and times for people, the same in every language of the browser.

const NUMBER = new Intl.NumberFormat("en");

/** 12,345 */
export function count(value: number): string {
  return NUMBER.format(value);
}

/** `1 file`, `2 files` */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `312 B`, `4.2 KiB` */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const mib = bytes >= 1 << 20;
  return `${(bytes / (mib ? 1 << 20 : 1024)).toFixed(1)} ${mib ? "MiB" : "KiB"}`;
}

/** `0:07`, `12:34`, `1:02:03` */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** `2026-01-31 12:30`, in the browser's time zone. */
export function dateTime(time: string | Date): string {
  const date = new Date(time);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** `12:30:05`, in the browser's time zone. */
export function timeOfDay(time: string | Date): string {
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
