// Health: dependencies, figures, rates, latencies.

import { byId, cell, fillTable, make, setText } from "./dom.js";
import { desk } from "./console-desk.js";
import { latencies, parseMetrics, rate, total } from "./console-metrics.js";

let before = null;

const tile = (name, text, kind = "") => make("div", { class: `tile ${kind}` }, make("dl", {}, make("dt", { text: name }), make("dd", { text })));
const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en").replaceAll(",", "\u202f"));
const short = (value) => (value === null ? "–" : value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : whole(value));

export async function showHealth() {
  const [ready, engine, text] = await Promise.all([
    fetch("/health/ready", { cache: "no-store" }).then((answer) => answer.json()),
    desk.read("/engine"),
    desk.metrics(),
  ]);
  const { status, ...parts } = ready;
  const shown = Object.entries(parts).map(([name, said]) => tile(name, said, `words ${said === "ok" ? "good" : said === "not used" ? "" : "bad"}`));
  byId("parts").replaceChildren(tile("takes orders", status, `words ${status === "ready" ? "good" : "bad"}`), ...shown);
  const now = parseMetrics(text);
  const per = (name, wanted) => (before ? short(rate(before, now, name, wanted)) : "–");
  const lag = total(now, "event_loop_lag_seconds");
  byId("figures").replaceChildren(
    tile("orders / s", per("orders_placed_total")),
    tile("trades / s", per("trades_executed_total")),
    tile("requests / s", per("http_requests_total")),
    tile("5xx / s", per("http_requests_total", (labels) => labels.status?.startsWith("5"))),
    tile("queue", whole(engine.queue_depth), engine.queue_depth > 1_000 ? "bad" : ""),
    tile("last batch", whole(engine.last_batch)),
    tile("live orders", whole(engine.live_orders)),
    tile("sequence", whole(engine.sequence)),
    tile("epoch", whole(engine.epoch)),
    tile("to be settled", whole(engine.pending_settlements), engine.settlement_lag_ms > 10_000 ? "bad" : ""),
    tile("settlement lag", `${whole(engine.settlement_lag_ms)} ms`, engine.settlement_lag_ms > 10_000 ? "bad" : ""),
    tile("dead letters", whole(engine.dead_letters), engine.dead_letters ? "bad" : ""),
    tile("connections", whole(total(now, "api_connections"))),
    tile("event loop lag", lag === null ? "–" : `${short(lag * 1000)} ms`),
    ...(engine.trouble ? [tile("trouble", engine.trouble, "words bad")] : []),
  );
  setText(byId("letters-count"), engine.dead_letters ? `(${engine.dead_letters})` : "");
  const rows = before ? latencies(before, now) : [];
  const ms = (value) => (value === null ? "–" : `${short(value)} ms`);
  fillTable(byId("latencies"), rows.map((row) => [cell(row.what, "strong"), cell(short(row.rate)), cell(ms(row.p50)), cell(ms(row.p99))]), "Rates need two looks: in a moment.");
  before = now;
}
