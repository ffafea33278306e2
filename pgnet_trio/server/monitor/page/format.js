// How figures are shown.

const whole = new Intl.NumberFormat("en");

export const number = (value) => (value === null || value === undefined ? "–" : whole.format(Math.round(value)));

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const value = seconds * 1000;
  if (value >= 10000) return duration(seconds);
  if (value === 0) return "0 ms";
  return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : whole.format(Math.round(value))} ms`;
}

export const percent = (value) =>
  value === null || value === undefined ? "–" : `${value < 0.1 ? (value * 100).toFixed(1) : Math.round(value * 100)} %`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  seconds = Math.max(0, Math.floor(seconds));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

const times = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dates = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const otherYears = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const clock = (seconds) => times.format(new Date(seconds * 1000));

export function date(seconds) {
  const day = new Date(seconds * 1000);
  return (day.getFullYear() === new Date().getFullYear() ? dates : otherYears).format(day);
}

export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
