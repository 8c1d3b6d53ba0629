// Candles and volume of a market, drawn by lightweight-charts.

import { CandlestickSeries, createChart, HistogramSeries } from "./lightweight-charts.mjs";
import { byId } from "./dom.js";
import { decimalsOf } from "./decimal.js";
import { read } from "./api.js";

const SHOWN = 500;

export class Candles {
  constructor() {
    this.place = byId("candles");
    // The link to its makers is below the chart: the library's own is HTML out of a text, which the policy forbids.
    this.chart = createChart(this.place, { autoSize: true, layout: { attributionLogo: false } });
    this.bars = this.chart.addSeries(CandlestickSeries);
    this.volume = this.chart.addSeries(HistogramSeries, { priceScaleId: "", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.turn = 0;
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.paint());
    this.paint();
  }

  /** Take the colours of the page. */
  paint() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.chart.applyOptions({
      layout: { background: { color: colour("--panel") }, textColor: colour("--muted"), fontSize: 11 },
      grid: { vertLines: { color: colour("--line") }, horzLines: { color: colour("--line") } },
      rightPriceScale: { borderColor: colour("--line") },
      timeScale: { borderColor: colour("--line"), timeVisible: true },
    });
    const [up, down] = [colour("--buy"), colour("--sell")];
    this.bars.applyOptions({ upColor: up, downColor: down, borderVisible: false, wickUpColor: up, wickDownColor: down });
    this.volume.applyOptions({ color: colour("--volume") });
  }

  /** Show a market's candles from now on; those that come meanwhile are kept. */
  async begin(market, interval) {
    const turn = ++this.turn;
    this.interval = interval;
    this.symbol = market.symbol;
    this.late = [];
    const decimals = decimalsOf(market.tick_size);
    this.bars.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: Number(market.tick_size) } });
    const target = `/markets/${encodeURIComponent(market.symbol)}/candles?interval=${interval}&limit=${SHOWN}`;
    const candles = await read(target);
    if (turn !== this.turn) return;
    this.bars.setData(candles.map(bar));
    this.volume.setData(candles.map(amount));
    this.newest = candles.length ? seconds(candles.at(-1)) : 0;
    const late = this.late;
    this.late = null;
    for (const candle of late) this.take(candle);
    this.chart.timeScale().applyOptions({ barSpacing: 8 });
    this.chart.timeScale().scrollToRealTime();
    this.tell(candles.at(-1));
  }

  /** Take in a candle as the channel tells it. */
  take(candle) {
    if (!candle || candle.symbol !== this.symbol || candle.interval !== this.interval) return;
    if (this.late) {
      this.late.push(candle);
      return;
    }
    if (seconds(candle) < this.newest) return;
    this.newest = seconds(candle);
    this.bars.update(bar(candle));
    this.volume.update(amount(candle));
    this.tell(candle);
  }

  tell(candle) {
    const words = candle ? `, the last closes at ${candle.close}, high ${candle.high}, low ${candle.low}` : ", none yet";
    this.place.setAttribute("aria-label", `Candles of ${this.symbol}, ${this.interval}${words}`);
  }
}

const seconds = (candle) => Date.parse(candle.open_time) / 1000;
const bar = (candle) => ({ time: seconds(candle), open: +candle.open, high: +candle.high, low: +candle.low, close: +candle.close });
const amount = (candle) => ({ time: seconds(candle), value: +candle.volume });
