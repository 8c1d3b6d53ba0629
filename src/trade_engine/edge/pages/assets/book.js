// The book with its depth bars, the depth chart and the tape.

import { byId, clock, make, setText } from "./dom.js";
import { format, grouped, over, parse, times, UNIT } from "./decimal.js";

const ROWS = 11;
const TRADES = 40;
const SVG = "http://www.w3.org/2000/svg";

/** A row of the book or the tape: three cells; one that was never filled is empty. */
function rows(count, kind, chosen) {
  return Array.from({ length: count }, () => {
    const price = make("td", { class: kind });
    const row = make("tr", {}, price, make("td"), make("td"));
    // For the mouse; whoever has none types the price.
    row.addEventListener("click", () => price.dataset.price && chosen(price.dataset.price));
    return row;
  });
}

export class BookView {
  /** @param {function(string)} chosen told of a price that was clicked */
  constructor(chosen) {
    this.asks = rows(ROWS, "sell", chosen);
    this.bids = rows(ROWS, "buy", chosen);
    byId("asks").append(...this.asks);
    byId("bids").append(...this.bids);
    this.depth = byId("depth");
    this.begin(0);
  }

  /** Show another market's book from now on; quantities have its lot's decimals. */
  begin(decimals) {
    this.decimals = decimals;
    this.clear();
  }

  clear() {
    this.show({ bids: [], asks: [] });
  }

  /** @param {{bids: string[][], asks: string[][]}} book best first */
  show(book) {
    this.book = book;
    const sides = [book.bids, book.asks].map((levels) => accumulate(levels));
    const most = sides.reduce((high, side) => {
      const last = side[Math.min(side.length, ROWS) - 1]?.total ?? 0n;
      return last > high ? last : high;
    }, 1n);
    fill(this.bids, sides[0], most, this.decimals);
    fill([...this.asks].reverse(), sides[1], most, this.decimals);
    const bid = sides[0][0];
    const ask = sides[1][0];
    const spread = bid && ask ? ask.at - bid.at : null;
    setText(byId("spread"), spread === null ? "–" : format(spread));
    setText(byId("middle"), spread === null ? "no spread" : `spread ${format(spread)} · ${shareOf(spread, bid.at)} %`);
    if (!byId("depth-panel").hidden) this.draw();
  }

  /** The depth chart: what may be had up to each price, within the levels that are shown. */
  draw() {
    const [bids, asks] = [accumulate(this.book.bids), accumulate(this.book.asks)];
    if (!bids.length || !asks.length) {
      this.depth.replaceChildren(make("p", { class: "empty", text: "There is no depth to draw: a side of the book is empty." }));
      return;
    }
    const [width, height] = [800, 300];
    const low = Number(bids.at(-1).at);
    const high = Number(asks.at(-1).at);
    const most = Number(bids.at(-1).total > asks.at(-1).total ? bids.at(-1).total : asks.at(-1).total);
    const x = (price) => ((Number(price) - low) / Math.max(1, high - low)) * width;
    const y = (total) => height - 4 - (Number(total) / most) * (height - 24);
    const outline = (side) => {
      const points = [[x(side[0].at), height]];
      for (const [at, level] of side.entries()) {
        points.push([x(level.at), y(at ? side[at - 1].total : 0n)], [x(level.at), y(level.total)]);
      }
      points.push([x(side.at(-1).at), height]);
      return points.map((point) => point.map((part) => part.toFixed(1)).join(",")).join(" ");
    };
    const svg = document.createElementNS(SVG, "svg");
    const label = `Depth: ${format(bids.at(-1).total)} bid down to ${bids.at(-1).price}, ${format(asks.at(-1).total)} asked up to ${asks.at(-1).price}`;
    for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label })) {
      svg.setAttribute(name, value);
    }
    for (const [side, kind] of [[bids, "buy"], [asks, "sell"]]) {
      const polygon = document.createElementNS(SVG, "polygon");
      polygon.setAttribute("points", outline(side));
      polygon.setAttribute("class", kind);
      svg.append(polygon);
    }
    const axis = [bids.at(-1).price, bids[0].price, asks[0].price, asks.at(-1).price];
    const words = make("p", { class: "axis", "aria-hidden": "true" }, ...axis.map((price) => make("span", { text: grouped(price) })));
    this.depth.replaceChildren(svg, words);
  }
}

function accumulate(levels) {
  let total = 0n;
  return levels.map(([price, quantity]) => {
    const units = parse(quantity) ?? 0n;
    total += units;
    return { price, units, at: parse(price) ?? 0n, total };
  });
}

function fill(drawn, levels, most, decimals) {
  for (const [at, row] of drawn.entries()) {
    const level = levels[at];
    const [price, quantity, total] = row.cells;
    setText(price, level?.price);
    setText(quantity, level ? format(level.units, decimals) : "");
    setText(total, level ? format(level.total, decimals) : "");
    price.dataset.price = level ? level.price : "";
    row.style.setProperty("--share", level ? `${Number((level.total * 1000n) / most) / 10}%` : "0%");
  }
}

function shareOf(spread, bid) {
  return bid ? (Number(over(times(spread, 100n * UNIT), bid)) / Number(UNIT)).toFixed(3) : "–";
}

export class TapeView {
  constructor() {
    this.trades = [];
    this.rows = rows(TRADES, "", () => {});
    byId("tape").append(...this.rows);
  }

  begin(decimals) {
    this.decimals = decimals;
    this.trades = [];
    this.draw();
  }

  /** @param {object[]} trades oldest first */
  add(trades, isSnapshot) {
    const known = isSnapshot ? [] : this.trades;
    this.trades = [...[...trades].reverse(), ...known].slice(0, TRADES);
    this.draw();
  }

  draw() {
    for (const [at, row] of this.rows.entries()) {
      const trade = this.trades[at];
      const [price, quantity, time] = row.cells;
      setText(price, trade?.price);
      price.className = trade ? (trade.is_buyer_maker ? "sell" : "buy") : "";
      setText(quantity, trade ? format(parse(trade.quantity) ?? 0n, this.decimals) : "");
      setText(time, trade ? clock(trade.executed_at) : "");
    }
  }
}
