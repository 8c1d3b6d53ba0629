// The order form: what the market's rules and the balance allow, said before anything is sent.

import { byId, make, say, setText } from "./dom.js";
import { format, grouped, over, parse, percent, times, UNIT } from "./decimal.js";
import { explain } from "./api.js";

/** After these nobody knows what became of the order: sent again with the same id it is safe. */
const UNKNOWN = new Set(["CONNECTION_LOST", "OUTCOME_UNKNOWN", "REQUEST_TIMEOUT"]);

export class OrderForm {
  /**
   * @param {{place: function(object): Promise<object>, logIn: function()}} desk
   */
  constructor(desk) {
    this.desk = desk;
    this.form = byId("order-form");
    this.fields = this.form.elements;
    this.available = new Map();
    this.isLoggedIn = false;
    this.touched = new Set();
    this.again = null;
    this.form.addEventListener("input", (event) => this.changed(event));
    this.form.addEventListener("focusout", (event) => {
      if (event.target.value) this.touched.add(event.target.name);
      this.check();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    for (const button of this.form.querySelectorAll("[data-share]")) {
      button.addEventListener("click", () => this.takeShare(BigInt(button.dataset.share)));
    }
  }

  get side() {
    return this.fields.side.value;
  }

  get hasPrice() {
    return ["LIMIT", "STOP_LIMIT"].includes(this.fields.type.value);
  }

  get hasStop() {
    return ["STOP", "STOP_LIMIT"].includes(this.fields.type.value);
  }

  /** Trade in another market from now on. */
  begin(market) {
    const isOther = market.symbol !== this.market?.symbol;
    this.market = market;
    if (isOther) {
      this.touched.clear();
      this.again = null;
      for (const name of ["price", "stop_price", "quantity"]) this.fields[name].value = "";
      setText(byId("order-problem"), "");
    }
    for (const unit of this.form.querySelectorAll(".unit")) setText(unit, unit.classList.contains("quote") ? market.quote : market.base);
    this.showRules();
    this.draw();
  }

  setAccount(isLoggedIn, balances) {
    this.isLoggedIn = isLoggedIn;
    this.available = balances;
    this.draw();
  }

  /** @param {{last: string|null, bid: string|null, ask: string|null}} prices */
  setPrices(prices) {
    this.prices = prices;
    if (this.hasPrice && !this.fields.price.value && !this.touched.has("price") && document.activeElement !== this.fields.price) {
      this.fields.price.placeholder = prices.last ?? "";
    }
    this.sum();
  }

  setPrice(price) {
    if (this.hasPrice) this.fields.price.value = price;
    else if (this.hasStop) this.fields.stop_price.value = price;
    this.changed();
  }

  changed(event) {
    this.again = null;
    setText(byId("order-problem"), "");
    if (event?.target.name === "type" && this.fields.type.value === "MARKET") this.fields.time_in_force.value = "GTC";
    this.draw();
  }

  draw() {
    if (!this.market) return;
    this.show("price", this.hasPrice);
    this.show("stop_price", this.hasStop);
    this.show("post_only", this.hasPrice);
    this.fields.time_in_force.disabled = !this.hasPrice;
    const halted = this.market.state !== "OPEN";
    const submit = byId("submit");
    submit.className = `submit ${this.side.toLowerCase()}`;
    const words = halted ? `${this.market.symbol} is ${this.market.state.replace("_", " ").toLowerCase()}` : `${this.side === "BUY" ? "Buy" : "Sell"} ${this.market.base}`;
    setText(submit, this.isLoggedIn ? words : "Log in to trade");
    submit.disabled = this.isLoggedIn && halted;
    const asset = this.side === "BUY" ? this.market.quote : this.market.base;
    const units = this.available.get(asset) ?? 0n;
    setText(byId("available"), this.isLoggedIn ? `${grouped(format(units))} ${asset}` : "log in to see");
    this.sum();
    this.check();
  }

  show(name, isShown) {
    this.form.querySelector(`[data-field=${name}]`).hidden = !isShown;
  }

  /** What a unit costs, as far as it is known: units of 1e-8. */
  priceUnits() {
    const { last, bid, ask } = this.prices ?? {};
    if (this.hasPrice) return parse(this.fields.price.value);
    if (this.hasStop) return parse(this.fields.stop_price.value);
    return parse((this.side === "BUY" ? ask : bid) ?? last);
  }

  sum() {
    if (!this.market) return;
    const [price, quantity] = [this.priceUnits(), parse(this.fields.quantity.value)];
    const about = this.hasPrice ? "" : "about ";
    const value = price === null || quantity === null ? null : times(price, quantity);
    const [maker, taker] = [parse(this.market.maker_fee) ?? 0n, parse(this.market.taker_fee) ?? 0n];
    setText(byId("value"), value === null ? "–" : `${about}${grouped(format(value))} ${this.market.quote}`);
    const inBase = this.market.fee_asset === "RECEIVED" && this.side === "BUY";
    const fee = value === null ? null : times(inBase ? quantity : value, maker > taker ? maker : taker, true);
    setText(byId("fee"), fee === null ? "–" : `${about}${grouped(format(fee))} ${inBase ? this.market.base : this.market.quote}`);
  }

  takeShare(share) {
    const market = this.market;
    let units = this.available.get(this.side === "BUY" ? market.quote : market.base) ?? 0n;
    if (this.side === "BUY") {
      const price = this.priceUnits();
      if (!price) {
        this.tell("price", this.hasPrice ? "a price first: what the balance buys depends on it" : "");
        return;
      }
      // A market order walks the book: what it may cost more is left.
      const room = this.hasPrice ? 0n : (parse(market.max_slippage) ?? 0n) / 10n;
      const fees = market.fee_asset === "QUOTE" ? (parse(market.taker_fee) ?? 0n) : 0n;
      units = over(units, times(price, UNIT + fees + room, true) || 1n);
    }
    const lot = parse(market.lot_size);
    const most = parse(market.max_quantity);
    const wanted = (units * share) / 100n;
    this.fields.quantity.value = format(((wanted > most ? most : wanted) / lot) * lot);
    this.changed();
  }

  // ---- what is wrong

  /** The problems of the fields as they are: [field, what]. */
  problems() {
    const market = this.market;
    const found = [];
    const steps = (name, step, what) => {
      const units = parse(this.fields[name].value);
      if (units === null || units === 0n) found.push([name, this.fields[name].value ? "not a number above zero" : `the ${what} is missing`]);
      else if (units % parse(step)) found.push([name, `whole steps of ${step}`]);
      else return units;
      return null;
    };
    if (this.hasStop) steps("stop_price", market.tick_size, "stop price");
    const price = this.hasPrice ? steps("price", market.tick_size, "price") : null;
    const quantity = steps("quantity", market.lot_size, "quantity");
    const last = parse(this.prices?.last);
    const band = parse(market.price_band);
    if (price !== null && last && band) {
      const room = times(last, band);
      if (price > last + room || price < last - room) found.push(["price", `more than ${percent(market.price_band)} from the last price ${this.prices.last}`]);
    }
    if (quantity === null) return found;
    if (quantity < parse(market.min_quantity)) found.push(["quantity", `at least ${market.min_quantity}`]);
    if (quantity > parse(market.max_quantity)) found.push(["quantity", `at most ${market.max_quantity}`]);
    if (price !== null && times(price, quantity) < parse(market.min_notional)) found.push(["quantity", `a value of at least ${market.min_notional} ${market.quote}`]);
    if (this.isLoggedIn) found.push(...this.lacking(price, quantity));
    return found;
  }

  lacking(price, quantity) {
    const market = this.market;
    const has = this.available.get(this.side === "BUY" ? market.quote : market.base) ?? 0n;
    if (this.side === "SELL") return quantity > has ? [["quantity", `only ${format(has)} ${market.base} available`]] : [];
    if (price === null) return [];
    const fees = market.fee_asset === "QUOTE" ? [market.maker_fee, market.taker_fee].map(parse).reduce((a, b) => (a > b ? a : b)) : 0n;
    const needed = times(times(price, quantity), UNIT + fees, true);
    return needed > has ? [["quantity", `needs ${format(needed)} ${market.quote} with its fee, ${format(has)} available`]] : [];
  }

  /** Say what is wrong beside each field that was filled in; whether nothing is. */
  check(all = false) {
    if (!this.market) return false;
    const problems = this.problems();
    for (const name of ["stop_price", "price", "quantity"]) {
      const problem = problems.find(([field]) => field === name);
      this.tell(name, problem && (all || this.touched.has(name)) ? problem[1] : "");
    }
    return !problems.length;
  }

  tell(name, problem) {
    setText(byId(`${name}-problem`), problem);
    if (problem) this.fields[name].setAttribute("aria-invalid", "true");
    else this.fields[name].removeAttribute("aria-invalid");
  }

  // ---- sending

  async submit() {
    if (!this.isLoggedIn) {
      this.desk.logIn();
      return;
    }
    if (!this.check(true)) {
      this.form.querySelector("[aria-invalid]")?.focus();
      return;
    }
    const order = this.again ?? this.order();
    const submit = byId("submit");
    submit.disabled = true;
    setText(byId("order-problem"), "");
    try {
      const { order: placed, trades } = await this.desk.place(order);
      this.again = null;
      this.fields.quantity.value = "";
      this.touched.delete("quantity");
      say(`${order.side === "BUY" ? "Buy" : "Sell"} order ${placed.status.replace("_", " ").toLowerCase()}${trades.length ? `, ${placed.filled_quantity} filled at ${placed.average_price}` : ""}${placed.reason ? ` (${placed.reason})` : ""}`);
    } catch (error) {
      this.again = UNKNOWN.has(error.code) ? order : null;
      const more = this.again ? " It may have been placed: send it again as it is, nothing is placed twice." : "";
      setText(byId("order-problem"), explain(error) + more);
    } finally {
      this.draw();
    }
  }

  order() {
    const fields = this.fields;
    const order = {
      symbol: this.market.symbol, side: this.side, type: fields.type.value, quantity: fields.quantity.value.trim(),
      client_order_id: `page-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`,
    };
    if (this.hasPrice) Object.assign(order, { price: fields.price.value.trim(), time_in_force: fields.time_in_force.value, post_only: fields.post_only.checked });
    if (this.hasStop) order.stop_price = fields.stop_price.value.trim();
    return order;
  }

  // ---- rules

  showRules() {
    const market = this.market;
    const rules = [
      ["Price step", `${market.tick_size} ${market.quote}`],
      ["Quantity step", `${market.lot_size} ${market.base}`],
      ["Quantity", `${market.min_quantity} to ${grouped(market.max_quantity)}`],
      ["Least value", market.min_notional === "0" ? "none" : `${market.min_notional} ${market.quote}`],
      ["Price band", market.price_band === "0" ? "none" : `± ${percent(market.price_band)} of the last price`],
      ["Slippage at most", market.max_slippage === "0" ? "no limit" : percent(market.max_slippage)],
      ["Open orders", market.max_open_orders ? String(market.max_open_orders) : "no limit"],
      ["Fees", `maker ${percent(market.maker_fee)}, taker ${percent(market.taker_fee)}`],
    ];
    byId("rules").replaceChildren(...rules.map(([name, text]) => make("div", {}, make("dt", { text: name }), make("dd", { text }))));
  }
}
