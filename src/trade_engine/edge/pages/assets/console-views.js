// Markets, dead letters, users, checks and the audit.

import { byId, cell, fillTable, make, moment, setText } from "./dom.js";
import { grouped, percent } from "./decimal.js";
import { explain } from "./api.js";
import { action, change, desk, details } from "./console-desk.js";

const STATES = ["OPEN", "HALTED", "CANCEL_ONLY", "CLOSED"];
const OPEN = new Set(["PENDING", "OPEN", "PARTIALLY_FILLED"]);
const path = (symbol) => `/markets/${encodeURIComponent(symbol)}`;
const acts = (...buttons) => make("td", {}, make("div", { class: "acts" }, ...buttons));

// ---- markets

export async function showMarkets() {
  const [markets, engine] = await Promise.all([desk.read("/markets"), desk.read("/engine")]);
  const sequences = new Map(engine.markets.map((each) => [each.symbol, each.sequence]));
  const rows = markets.map((market) => {
    const symbol = market.symbol;
    const isOpen = market.state === "OPEN";
    return [
      cell(symbol, "strong"),
      make("td", {}, make("span", { class: `chip ${isOpen ? "good" : "bad"}`, text: market.state })),
      cell(grouped(String(sequences.get(symbol) ?? "–"))),
      cell(percent(market.maker_fee)), cell(percent(market.taker_fee)), cell(market.tick_size), cell(market.lot_size),
      acts(
        isOpen
          ? action("Halt", `Halt ${symbol}`, () => switchMarket(symbol, "halt", "Halt"), "quiet danger")
          : action("Resume", `Resume ${symbol}`, () => switchMarket(symbol, "resume", "Resume")),
        action("State", `Set the state of ${symbol}`, () => setState(market)),
        action("Fees", `Change the fees of ${symbol}`, () => setFees(market)),
      ),
    ];
  });
  fillTable(byId("market-rows"), rows, "No markets.");
}

function switchMarket(symbol, how, word) {
  const text = how === "halt" ? "It takes no orders and no cancels until it is resumed." : "It takes orders again.";
  change({
    title: `${word} ${symbol}`, text, submit: `${word} ${symbol}`, done: `${symbol}: ${how} is done`, after: showMarkets,
    run: ({ reason }) => desk.call("POST", `${path(symbol)}/${how}`, { reason }),
  });
}

function setState({ symbol, state }) {
  change({
    title: `State of ${symbol}`, submit: "Set the state", done: `${symbol}: the state is set`, after: showMarkets,
    fields: [{ name: "state", label: "State", value: state, choices: STATES }],
    run: (body) => desk.call("POST", `${path(symbol)}/state`, body),
  });
}

function setFees(market) {
  change({
    title: `Fees of ${market.symbol}`, text: "As fractions: 0.001 is 0.1 %. Open orders keep the fees that they were accepted with.",
    submit: "Change the fees", done: `${market.symbol}: the fees are changed`, after: showMarkets,
    fields: [
      { name: "maker_fee", label: "Maker fee", value: market.maker_fee },
      { name: "taker_fee", label: "Taker fee", value: market.taker_fee },
    ],
    run: (body) => desk.call("PATCH", path(market.symbol), body),
  });
}

// ---- dead letters

export async function showLetters() {
  const letters = await desk.read("/dead-letters?limit=100");
  const rows = letters.map((letter) => [
    cell(String(letter.id)), cell(letter.kind, "strong"), cell(letter.trade_id ?? letter.order_id, "id", { title: letter.trade_id ?? letter.order_id }),
    cell(letter.amount ? `${grouped(letter.amount)} ${letter.asset}` : null), cell(letter.last_reason ?? letter.reason, "wrap"),
    cell(String(letter.attempts)), cell(moment(letter.created_at), "time"),
    acts(
      action("Show", `Show dead letter ${letter.id}`, async () => details(`Dead letter ${letter.id}`, await desk.read(`/dead-letters/${letter.id}`))),
      action("Retry", `Retry dead letter ${letter.id}`, () => treat(letter.id, "retry", "Retry", "It is tried again at once.")),
      action("Resolve", `Resolve dead letter ${letter.id}`, () => treat(letter.id, "resolve", "Resolve", "It is given up for good; reserved funds go back to their owners."), "quiet danger"),
    ),
  ]);
  fillTable(byId("letter-rows"), rows, "None: everything was settled, or waits for its turn.");
}

function treat(id, how, word, text) {
  change({
    title: `${word} dead letter ${id}`, text, submit: word, done: `Dead letter ${id}: ${how} is done`, after: showLetters,
    run: ({ reason }) => desk.call("POST", `/dead-letters/${id}/${how}`, { reason }),
  });
}

// ---- users

let user = null;

export async function showUser() {
  if (!user) return;
  const of = `/users/${encodeURIComponent(user)}`;
  const [balances, orders, entries] = await Promise.all([desk.read(`${of}/balances`), desk.read(`${of}/orders?limit=100`), desk.read(`${of}/entries?limit=100`)]);
  byId("user").hidden = false;
  byId("user-cancel-all").hidden = !orders.some((order) => OPEN.has(order.status));
  fillTable(byId("user-balances"), balances.map((row) => [cell(row.asset, "strong"), ...[row.available, row.reserved, row.pending, row.total].map((text) => cell(grouped(text)))]), "No balances.");
  fillTable(byId("user-orders"), orders.map(orderRow), "No orders.");
  const shown = entries.map((entry) => [
    cell(String(entry.id)), cell(entry.type, ""), cell(entry.asset, "strong"), cell(entry.available_delta), cell(entry.reserved_delta),
    cell(entry.available_after), cell(entry.reserved_after), cell(entry.operation_id, "id", { title: entry.operation_id }),
  ]);
  fillTable(byId("user-entries"), shown, "No entries.");
}

function orderRow(order) {
  const cancel = () => change({
    title: "Cancel an order", text: `${order.side} ${order.quantity} ${order.symbol}, ${order.id}`, submit: "Cancel the order", done: "The order is cancelled", after: showUser,
    run: ({ reason }) => desk.call("DELETE", `/orders/${order.id}?reason=${encodeURIComponent(reason)}`),
  });
  return [
    cell(moment(order.created_at), "time"), cell(order.symbol, "strong"), cell(order.side, order.side === "BUY" ? "buy" : "sell"), cell(grouped(order.price ?? order.stop_price)),
    cell(order.quantity), cell(order.filled_quantity), cell(order.reason ? `${order.status}, ${order.reason}` : order.status, ""),
    cell(order.client_order_id, "id", { title: order.client_order_id }),
    acts(...(OPEN.has(order.status) ? [action("Cancel", `Cancel the order of ${order.quantity} ${order.symbol}`, cancel, "quiet danger")] : [])),
  ];
}

export function beginUsers() {
  byId("user-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    user = byId("user-id").value.trim();
    setText(byId("user-problem"), "");
    byId("user").hidden = true;
    try {
      await showUser();
    } catch (error) {
      user = null;
      setText(byId("user-problem"), explain(error));
    }
  });
  byId("user-cancel-all").addEventListener("click", () =>
    change({
      title: "Cancel all orders of the user", text: user, submit: "Cancel all", done: "The orders are cancelled", after: showUser,
      run: ({ reason }) => desk.call("DELETE", `/orders?user_id=${encodeURIComponent(user)}&reason=${encodeURIComponent(reason)}`),
    }),
  );
}

export function forgetUser() {
  user = null;
  byId("user").hidden = true;
  byId("user-id").value = "";
}

// ---- checks

function outcome(place, words, isGood, differences = []) {
  const chip = make("span", { class: `chip ${isGood === null ? "" : isGood ? "good" : "bad"}`, text: isGood === null ? "unknown" : isGood ? "agrees" : "differs" });
  const list = differences.length ? make("ul", {}, ...differences.slice(0, 50).map((text) => make("li", { text }))) : null;
  place.replaceChildren(make("div", { class: "outcome" }, make("p", {}, chip, ` ${words}`), list));
}

export async function showChecks() {
  const [reconciliation, verification] = await Promise.all([desk.read("/reconciliation"), desk.read("/verification")]);
  const last = reconciliation;
  if (!last) outcome(byId("reconciliation"), "None yet since the engine started.", null);
  else {
    const found = last.differences.map((each) => `${each.check}: ${each.subject} ${each.asset}: ${each.left} against ${each.right}`);
    outcome(byId("reconciliation"), `${moment(last.started_at)} UTC, took ${last.took_ms} ms, ${last.differences.length} differences`, !found.length, found);
  }
  const run = verification;
  if (!run) outcome(byId("verification"), "None yet since the engine started.", null);
  else if (run.running) outcome(byId("verification"), `under way since ${moment(run.started_at)} UTC`, null);
  else if (run.failure) outcome(byId("verification"), `it did not come to its end: ${run.failure}`, null);
  else outcome(byId("verification"), `${moment(run.ended_at)} UTC, ${run.journal_batches} batches, journal head ${run.journal_head}`, run.ok, run.differences);
}

export function beginChecks() {
  byId("reconcile").addEventListener("click", () =>
    change({
      title: "Reconcile now", text: "With repair, reservations that no order stands behind are released.", submit: "Reconcile", done: "Reconciled", after: showChecks,
      fields: [{ name: "repair", label: "Repair", value: "no", choices: ["no", "yes"] }],
      run: ({ repair, reason }) => desk.call("POST", "/reconciliation", { repair: repair === "yes", reason }),
    }),
  );
  byId("verify").addEventListener("click", () =>
    change({
      title: "Verify now", text: "It runs beside the engine; on a long journal for minutes.", submit: "Verify", done: "Verification has begun", after: showChecks,
      run: ({ reason }) => desk.call("POST", "/verification", { reason }),
    }),
  );
}

// ---- audit

let older = null;

export async function showAudit(cursor = null) {
  if (!cursor && older?.shown) return; // somebody reads older pages
  const { data, meta } = await desk.call("GET", `/audit?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  older = { next: meta.next_cursor, shown: Boolean(cursor) };
  byId("audit-older").hidden = !older.next && !older.shown;
  setText(byId("audit-older"), older.next ? "Older" : "Newest");
  const rows = data.map((entry) => [
    cell(moment(entry.done_at), "time"), cell(entry.actor, "id", { title: entry.actor }), cell(entry.action, "strong"), cell(entry.subject, "wrap"),
    cell(entry.reason, "wrap"), cell(entry.outcome, ""),
  ]);
  fillTable(byId("audit-rows"), rows, "Nothing yet.");
}

export function beginAudit(failed) {
  byId("audit-older").addEventListener("click", () => {
    const next = older?.next;
    older = null;
    showAudit(next).catch(failed);
  });
}
