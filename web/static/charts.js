// Equity and drawdown (uPlot) and trades on candles (lightweight-charts), in the colours of the page's own style.
"use strict";
(() => {
  let drawn = [];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const thin = (v, n) => { const [whole, part] = v.toFixed(n).replace("-", "\u2212").split("."); return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? "." + part : ""); };
  const day = (s) => new Date(s * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

  function lines(id, data, format) {
    const box = document.getElementById(id);
    const axis = { stroke: style("--muted"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 }, font: "11px system-ui, sans-serif" };
    const options = {
      width: box.clientWidth, height: box.clientHeight, legend: { show: false }, padding: [8, 8, 0, 0],
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
      cursor: { points: { size: 6 }, y: false },
      axes: [{ ...axis, space: 64, values: (_, vs) => vs.map(day) }, { ...axis, size: 62, values: (_, vs) => vs.map(format) }],
      series: [{}, { stroke: style("--u-validated"), width: 2, points: { show: false } }, { stroke: style("--gold-mark"), width: 1.5, dash: [5, 4], points: { show: false } }],
    };
    const plot = new uPlot(options, data, box);
    drawn.push({ remove: () => plot.destroy(), fit: () => plot.setSize({ width: box.clientWidth, height: box.clientHeight }) });
  }

  function candles(id, c) {
    const box = document.getElementById(id), L = LightweightCharts;
    const chart = L.createChart(box, {
      autoSize: true, localization: { priceFormatter: (p) => thin(p, p < 100 ? 4 : p < 10000 ? 2 : 0) },
      layout: { background: { color: "transparent" }, textColor: style("--muted"), fontSize: 11, attributionLogo: false },
      grid: { vertLines: { visible: false }, horzLines: { color: style("--line") } },
      rightPriceScale: { borderColor: style("--line") }, timeScale: { borderColor: style("--line"), timeVisible: true },
    });
    const up = style("--u-validated"), down = style("--u-parked");
    const series = chart.addSeries(L.CandlestickSeries, { upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false, lastValueVisible: false, priceLineVisible: false });
    series.setData(c.candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close })));
    const times = c.candles.map((r) => r[0]);
    const bucket = (ms) => { let lo = 0, hi = times.length - 1; while (lo < hi) { const mid = (lo + hi + 1) >> 1; if (times[mid] <= ms / 1000) lo = mid; else hi = mid - 1; } return times[lo]; };
    const few = c.trades.length <= 60;
    const marks = c.trades.flatMap((t) => [
      { time: bucket(t.entry_ms), position: t.side > 0 ? "belowBar" : "aboveBar", shape: t.side > 0 ? "arrowUp" : "arrowDown", color: style("--water"), text: few ? (t.side > 0 ? "buy" : "short") : "" },
      { time: bucket(t.exit_ms), position: t.side > 0 ? "aboveBar" : "belowBar", shape: "circle", color: style(t.pnl > 0 ? "--gain" : "--loss"), text: few ? (t.pnl > 0 ? "+" : "\u2212") : "" },
    ]).sort((a, b) => a.time - b.time);
    L.createSeriesMarkers(series, marks);
    // A little room on both sides, so that the words at the first and the last trade are not cut.
    const room = Math.max(2, c.candles.length * 0.03);
    const fit = () => chart.timeScale().setVisibleLogicalRange({ from: -room, to: c.candles.length - 1 + room });
    fit();
    drawn.push({ remove: () => chart.remove(), fit });
  }

  async function draw() {
    const section = document.querySelector("[data-curves]");
    if (!section || section.dataset.drawn) return;
    section.dataset.drawn = "yes";
    const answer = await fetch(section.dataset.curves);
    if (!answer.ok) return;
    section.curves = await answer.json();
    paint(section.curves);
  }
  function paint(c) {
    for (const d of drawn) d.remove();
    drawn = [];
    lines("chart-equity", [c.days, c.equity, c.hold], (v) => thin(v, 0));
    lines("chart-drawdown", [c.days, c.drawdown, c.hold_drawdown], (v) => thin(v * 100, 1) + "\u202f%");
    candles("chart-candles", c);
  }

  document.addEventListener("DOMContentLoaded", draw);
  document.addEventListener("htmx:afterSettle", draw);
  addEventListener("resize", () => drawn.forEach((d) => d.fit()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    const section = document.querySelector("[data-curves]");
    if (section && section.curves) paint(section.curves);
  });
})();
