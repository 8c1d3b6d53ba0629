// Rates and latencies out of two looks at the engine's metrics, as `trade-engine status` makes them.

const LATENCIES = {
  "Order, from request to commit": "order_placement_duration_seconds",
  "Commit": "commit_duration_seconds",
  "Settlement": "settlement_duration_seconds",
  "Request": "http_request_duration_seconds",
  "Wallet call": "wallet_call_duration_seconds",
};

/** Samples by name: labels and value of each. */
export function parseMetrics(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((pair) => [pair[1], pair[2]]));
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return { at: performance.now() / 1000, found };
}

/** The sum of a metric's values; null if there are none. */
export function total(look, name, wanted = () => true) {
  const values = (look?.found.get(name) ?? []).filter((each) => wanted(each.labels));
  return values.length ? values.reduce((sum, each) => sum + each.value, 0) : null;
}

/** How much a counter grew a second between two looks. */
export function rate(before, after, name, wanted) {
  const grown = (total(after, name, wanted) ?? 0) - (total(before, name, wanted) ?? 0);
  return Math.max(0, grown) / Math.max(after.at - before.at, 1e-9);
}

/** Of each latency: how often a second, and half and 99 % of them within how many ms; null: nothing happened. */
export function latencies(before, after) {
  return Object.entries(LATENCIES).map(([what, name]) => {
    const buckets = new Map();
    for (const [look, sign] of [[after, 1], [before, -1]]) {
      for (const { labels, value } of look.found.get(`${name}_bucket`) ?? []) {
        const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
        buckets.set(bound, (buckets.get(bound) ?? 0) + sign * value);
      }
    }
    const ordered = [...buckets].sort((a, b) => a[0] - b[0]);
    return { what, rate: rate(before, after, `${name}_count`), p50: quantile(0.5, ordered), p99: quantile(0.99, ordered) };
  });
}

function quantile(share, ordered) {
  const all = ordered.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const rank = share * all;
  let [low, below] = [0, 0];
  for (const [bound, count] of ordered) {
    if (count >= rank) return 1000 * (bound === Infinity ? low : low + ((bound - low) * (rank - below)) / Math.max(count - below, 1e-9));
    [low, below] = [bound, count];
  }
  return null;
}
