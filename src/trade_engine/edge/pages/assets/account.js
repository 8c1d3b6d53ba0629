// What is the user's: open orders, fills, balances.

import { byId, cell, fillTable, make, moment, say, setText } from "./dom.js";
import { grouped, parse } from "./decimal.js";
import { explain } from "./api.js";

const FILLS = 100;
const ENDED = new Set(["FILLED", "CANCELLED", "REJECTED", "EXPIRED"]);
const OWN_WISH = new Set(["USER_REQUEST", "MASS_CANCEL", null]);

export class AccountView {
  /**
   * @param {{cancel: function(string): Promise<object>, cancelAll: function(): Promise<object>, balances: function(Map<string, bigint>)}} desk
   */
  constructor(desk) {
    this.desk = desk;
    byId("cancel-all").addEventListener("click", () => this.cancelAll());
    this.clear();
  }

  clear() {
    this.orders = new Map();
    this.fills = [];
    this.balances = new Map();
    const nobody = "Log in to see what is yours.";
    for (const name of ["orders", "fills", "balances"]) fillTable(byId(name), [], nobody);
    setText(byId("orders-count"), "");
    byId("cancel-all").hidden = true;
  }

  takeOrders(message) {
    if (message.snapshot) this.orders = new Map(message.data.map((order) => [order.id, order]));
    else for (const order of [message.data].flat()) this.takeOrder(order);
    this.drawOrders();
  }

  takeOrder(order) {
    if (!ENDED.has(order.status)) {
      this.orders.set(order.id, order);
      return;
    }
    const known = this.orders.delete(order.id);
    if (known && !OWN_WISH.has(order.reason)) say(`${order.symbol}: an order of yours ended, ${order.reason}`);
  }

  drawOrders() {
    const newest = [...this.orders.values()].sort((a, b) => b.sequence - a.sequence);
    setText(byId("orders-count"), newest.length ? `(${newest.length})` : "");
    byId("cancel-all").hidden = newest.length === 0;
    // A button that has the focus keeps it, whatever else changes.
    const focused = document.activeElement?.dataset?.order;
    const rows = newest.map((order) => [
      cell(order.symbol, "strong"),
      cell(order.side, order.side === "BUY" ? "buy" : "sell"),
      cell(order.price ? grouped(order.price) : order.stop_price ? `stop ${grouped(order.stop_price)}` : "market"),
      cell(order.quantity),
      cell(order.filled_quantity),
      cell(`${order.type.replace("_", " ").toLowerCase()} ${order.time_in_force}`, ""),
      cell(order.status.replace("_", " ").toLowerCase(), ""),
      cell(order.client_order_id, "id", { title: order.client_order_id }),
      cell(moment(order.created_at), "time"),
      make("td", { class: "act" }, this.cancelButton(order)),
    ]);
    fillTable(byId("orders"), rows, "No open orders.");
    if (focused) byId("orders").querySelector(`[data-order="${focused}"]`)?.focus();
  }

  cancelButton(order) {
    const label = `Cancel the ${order.side.toLowerCase()} order of ${order.quantity} ${order.symbol}`;
    const button = make("button", { type: "button", class: "quiet", "data-order": order.id, "aria-label": label, text: "Cancel" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await this.desk.cancel(order.id);
      } catch (error) {
        button.disabled = false;
        say(explain(error), "error");
      }
    });
    return button;
  }

  async cancelAll() {
    if (!window.confirm("Cancel all of your open orders, in every market?")) return;
    try {
      const { cancelled } = await this.desk.cancelAll();
      say(`${cancelled} cancelled`);
    } catch (error) {
      say(explain(error), "error");
    }
  }

  /** Take in fills, newest last; those that are known change in place. */
  takeFills(fills) {
    for (const fill of fills) {
      const key = `${fill.id} ${fill.side}`;
      const at = this.fills.findIndex((known) => `${known.id} ${known.side}` === key);
      if (at >= 0) this.fills[at] = fill;
      else this.fills.unshift(fill);
    }
    this.fills.sort((a, b) => (a.executed_at < b.executed_at ? 1 : -1));
    this.fills.length = Math.min(this.fills.length, FILLS);
    const rows = this.fills.map((fill) => {
      const buys = fill.side === "BUY";
      const [fee, asset] = buys ? [fill.buyer_fee, fill.buyer_fee_asset] : [fill.seller_fee, fill.seller_fee_asset];
      return [
        cell(fill.symbol, "strong"), cell(fill.side, buys ? "buy" : "sell"), cell(grouped(fill.price)), cell(fill.quantity),
        cell(fee ? `${grouped(fee)} ${asset}` : "–"), cell(fill.settlement_status.toLowerCase(), ""), cell(moment(fill.executed_at), "time"),
      ];
    });
    fillTable(byId("fills"), rows, "No fills yet.");
  }

  /** Whether a fill that is shown waits for its settlement. */
  get hasPending() {
    return this.fills.some((fill) => fill.settlement_status === "PENDING");
  }

  takeBalances(message) {
    if (message.snapshot) this.balances = new Map();
    for (const row of message.data) this.balances.set(row.asset, row);
    const rows = [...this.balances.values()]
      .sort((a, b) => (a.asset < b.asset ? -1 : 1))
      .map((row) => [cell(row.asset, "strong"), ...[row.available, row.reserved, row.pending, row.total].map((text) => cell(grouped(text)))]);
    fillTable(byId("balances"), rows, "No balances.");
    this.desk.balances(new Map([...this.balances.values()].map((row) => [row.asset, parse(row.available) ?? 0n])));
  }
}
