// The trading page: its parts, and what they tell each other.

import { byId, cell, make, say, setText, tabs } from "./dom.js";
import { decimalsOf, grouped } from "./decimal.js";
import { explain, read } from "./api.js";
import { Connection } from "./connection.js";
import { AccountView } from "./account.js";
import { BookView, TapeView } from "./book.js";
import { Candles } from "./candles.js";
import { LogInDialog } from "./log-in.js";
import { OrderForm } from "./order-form.js";

const LEVELS = 50;
const PAUSE_MS = 100;
const MARKETS_MS = 3_000;

let markets = new Map();
let tickers = new Map();
let market = null;
/** Of the market that is shown; null: there is none. */
let prices = { last: null, bid: null, ask: null };

const book = new BookView((price) => form.setPrice(price));
const tape = new TapeView();
const candles = new Candles();
const account = new AccountView({
  cancel: (id) => connection.ask({ op: "cancel", order_id: id }),
  cancelAll: () => connection.ask({ op: "cancel_all" }),
  balances: (available) => form.setAccount(connection.isLoggedIn, available),
});
const form = new OrderForm({ place: (order) => connection.ask({ op: "place", order }), logIn: () => dialog.open() });
const connection = new Connection({ state: showConnection, message: take, loggedOut: endLogin });
const dialog = new LogInDialog({ enter: logIn, leave: logOut });

// ---- the connection

function showConnection(isLive, heardAt) {
  const seconds = Math.round((Date.now() - heardAt) / 1000);
  const chip = byId("connection");
  setText(chip, isLive ? "Live" : `Not connected: data is ${seconds < 2 ? "old" : `${seconds} s old`}`);
  chip.className = `chip ${isLive ? "good" : "bad"}`;
  document.body.classList.toggle("stale", !isLive);
  if (isLive) refresh();
  if (isLive && market) candles.begin(market, byId("interval").value).catch(() => {});
  if (isLive && connection.isLoggedIn) readFills();
}

function take(message) {
  if (message.type === "orders") account.takeOrders(message);
  else if (message.type === "fills") account.takeFills(message.data instanceof Array ? message.data : [message.data]);
  else if (message.type === "balances") takeBalances(message);
  else if (message.symbol !== market?.symbol) return;
  else if (message.type === "depth") showBook(message.data);
  else if (message.type === "trades") tape.add(message.data, message.snapshot);
  else if (message.type === "candles") candles.take(message.data);
  else if (message.type === "ticker") showTicker(message.data);
}

/** Settlement moves money, and then fills are settled, which their channel does not tell. */
function takeBalances(message) {
  account.takeBalances(message);
  if (account.hasPending) {
    clearTimeout(takeBalances.timer);
    takeBalances.timer = setTimeout(readFills, 300);
  }
}

// ---- markets

async function refresh() {
  clearTimeout(refresh.timer);
  refresh.timer = setTimeout(refresh, MARKETS_MS);
  if (document.hidden) return;
  try {
    const [listed, shown] = await Promise.all([read("/markets"), read("/tickers").catch(() => [])]);
    markets = new Map(listed.map((each) => [each.symbol, each]));
    tickers = new Map(shown.map((each) => [each.symbol, each]));
  } catch {
    return; // the connection says that nobody answers
  }
  drawMarkets();
  const wanted = market?.symbol ?? symbolOf(location.hash);
  const found = markets.get(wanted) ?? markets.values().next().value;
  if (!found) return;
  if (found.symbol !== market?.symbol) choose(found.symbol);
  else if (JSON.stringify(found) !== JSON.stringify(market)) renew(found);
}

const symbolOf = (hash) => hash.slice(1).replace("-", "/");

function drawMarkets() {
  const picker = byId("market");
  const symbols = [...markets.keys()];
  if (picker.dataset.symbols !== symbols.join(" ")) {
    picker.dataset.symbols = symbols.join(" ");
    picker.replaceChildren(...symbols.map((symbol) => make("option", { value: symbol, text: symbol })));
    picker.value = market?.symbol ?? symbols[0] ?? "";
    const line = (symbol) => {
      const name = make("button", { type: "button", class: "link", text: symbol, onclick: () => choose(symbol) });
      return make("tr", { "data-symbol": symbol }, make("th", { scope: "row" }, name), cell(""), cell(""));
    };
    byId("markets").replaceChildren(...symbols.map(line));
  }
  for (const row of byId("markets").rows) {
    const symbol = row.dataset.symbol;
    const ticker = tickers.get(symbol);
    const isOpen = markets.get(symbol).state === "OPEN";
    row.classList.toggle("chosen", symbol === market?.symbol);
    row.cells[0].firstChild.toggleAttribute("aria-current", symbol === market?.symbol);
    setText(row.cells[1], ticker?.last_price ?? "–");
    setText(row.cells[2], isOpen ? changeOf(ticker) : markets.get(symbol).state.replace("_", " ").toLowerCase());
    row.cells[2].className = `number ${isOpen ? trend(ticker?.change) : "warn"}`;
  }
}

const trend = (change) => (change?.startsWith("-") ? "sell" : Number(change) ? "buy" : "");

function changeOf(ticker) {
  const value = Number(ticker?.change_percent);
  return ticker?.last_price && Number.isFinite(value) ? `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)} %` : "–";
}

/** Show another market. */
function choose(symbol) {
  const found = markets.get(symbol);
  if (!found) return;
  market = found;
  prices = { last: null, bid: null, ask: null };
  history.replaceState(null, "", `#${symbol.replace("/", "-")}`);
  byId("market").value = symbol;
  book.begin(decimalsOf(found.lot_size));
  tape.begin(decimalsOf(found.lot_size));
  setText(byId("book-quote"), found.quote);
  setText(byId("book-base"), found.base);
  renew(found);
  if (tickers.has(symbol)) showTicker(tickers.get(symbol));
  drawMarkets();
  connection.have("depth", { terms: { channel: "depth", symbol, levels: LEVELS, pause_ms: PAUSE_MS } });
  connection.have("trades", { terms: { channel: "trades", symbol, pause_ms: PAUSE_MS } });
  connection.have("ticker", { terms: { channel: "ticker", symbol } });
  chooseInterval();
}

/** Take in a market that was changed, halted or opened again. */
function renew(found) {
  const before = market?.symbol === found.symbol ? market.state : null;
  market = found;
  const chip = byId("state");
  chip.hidden = found.state === "OPEN";
  chip.className = "chip bad";
  setText(chip, found.state.replace("_", " ").toLowerCase());
  if (before && before !== found.state) say(`${found.symbol} is ${found.state.replace("_", " ").toLowerCase()} now`, found.state === "OPEN" ? "note" : "error");
  form.begin(found);
}

function chooseInterval() {
  const interval = byId("interval").value;
  connection.have("candles", { terms: { channel: "candles", symbol: market.symbol, interval } });
  candles.begin(market, interval).catch((error) => say(explain(error), "error"));
}

function showBook(data) {
  book.show(data);
  prices = { ...prices, bid: data.bids[0]?.[0] ?? null, ask: data.asks[0]?.[0] ?? null };
  form.setPrices(prices);
}

function showTicker(ticker) {
  prices = { ...prices, last: ticker.last_price };
  const last = byId("last");
  const before = last.dataset.price;
  if (before && before !== ticker.last_price) last.className = `price ${Number(ticker.last_price) > Number(before) ? "buy" : "sell"}`;
  last.dataset.price = ticker.last_price ?? "";
  setText(last, grouped(ticker.last_price));
  setText(byId("change"), changeOf(ticker));
  byId("change").className = trend(ticker.change);
  setText(byId("high"), grouped(ticker["24h_high"]));
  setText(byId("low"), grouped(ticker["24h_low"]));
  setText(byId("volume"), `${grouped(ticker["24h_volume"], Math.min(3, decimalsOf(market.lot_size)))} ${market.base}`);
  document.title = `${ticker.last_price ?? "–"} ${market.symbol}`;
  form.setPrices(prices);
}

// ---- who is logged in

async function logIn(login) {
  await connection.logIn(login);
  dialog.show(true);
  form.setAccount(true, new Map());
  for (const channel of ["orders", "fills", "balances"]) connection.have(channel, { terms: { channel }, isPrivate: true });
  readFills();
}

async function readFills() {
  if (!connection.login) return;
  try {
    account.takeFills((await read("/trades?scope=own&limit=50", connection.login)).reverse());
  } catch (error) {
    say(explain(error), "error");
  }
}

function logOut() {
  for (const channel of ["orders", "fills", "balances"]) connection.have(channel, null);
  connection.logOut();
  showLoggedOut();
}

function showLoggedOut() {
  dialog.show(false);
  account.clear();
  form.setAccount(false, new Map());
}

/** The server takes the login no longer. */
function endLogin(error) {
  if (dialog.isLoggedIn) say(`You are logged out: ${explain(error)}`, "error");
  showLoggedOut();
}

// ---- the beginning

for (const list of document.querySelectorAll("main [role=tablist]")) tabs(list, (button) => button.id === "tab-depth" && book.draw());
byId("market").addEventListener("change", (event) => choose(event.target.value));
byId("interval").addEventListener("change", chooseInterval);
window.addEventListener("hashchange", () => markets.has(symbolOf(location.hash)) && choose(symbolOf(location.hash)));
refresh();
