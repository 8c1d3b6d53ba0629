// Decimal numbers as the API writes them, exact: whole units of 1e-8, as BigInt.

const DECIMALS = 8;
export const UNIT = 10n ** BigInt(DECIMALS);

/** The units of a decimal text; null if it is none. */
export function parse(text) {
  const found = /^(\d{1,12})(?:\.(\d{1,8}))?$/.exec((text ?? "").trim());
  return found ? BigInt(found[1]) * UNIT + BigInt((found[2] ?? "").padEnd(DECIMALS, "0")) : null;
}

/** The shortest text of so many units, with so many decimals at least. */
export function format(units, decimals = 0) {
  const sign = units < 0n ? "-" : "";
  const size = units < 0n ? -units : units;
  const fraction = String(size % UNIT).padStart(DECIMALS, "0");
  const kept = fraction.replace(/0+$/, "").padEnd(decimals, "0");
  return `${sign}${size / UNIT}${kept ? `.${kept}` : ""}`;
}

/** The product of two decimals, cut at 1e-8, or rounded up there. */
export function times(a, b, up = false) {
  const product = a * b;
  return product / UNIT + (up && product % UNIT ? 1n : 0n);
}

/** The quotient of two decimals, cut at 1e-8. */
export function over(a, b) {
  return (a * UNIT) / b;
}

/** How many decimals a step such as 0.01 has. */
export function decimalsOf(step) {
  return (step.split(".")[1] ?? "").replace(/0+$/, "").length;
}

/** A decimal text for people: thousands apart, and no more than so many decimals. */
export function grouped(text, most = DECIMALS) {
  if (text === null || text === undefined) return "–";
  const [whole, fraction = ""] = String(text).split(".");
  const kept = fraction.slice(0, most);
  return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (kept ? `.${kept}` : "");
}

/** A fraction (0.001) as per cent. */
export function percent(fraction) {
  const units = parse(fraction);
  return units === null ? "–" : `${format(units * 100n)} %`;
}
