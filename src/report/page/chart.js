// Curves by uPlot: several series over one axis, hover values below, a dragged partition is enlarged
// and a double click shows all again.

const liveCharts = new Set();
const resizing = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const chart = entry.target.chart;
    const width = Math.floor(entry.contentRect.width);
    if (chart && width > 0 && width !== chart.width) chart.setSize({width, height: chart.height});
  }
});

/// Distances between marks of an axis of steps: no fractions.
const kWholeSteps = [];
for (let power = 1; power <= 1e9; power *= 10) kWholeSteps.push(power, 2 * power, 5 * power);

/// What an axis of values shows: some room around a line that does not move.
function rangeOf(_, low, high) {
  if (low === null || low === undefined) return [0, 1];
  if (low !== high) return uPlot.rangeNum(low, high, 0.1, true);
  const room = low === 0 ? 1 : Math.abs(low) / 2;
  return [low - room, low + room];
}

/// series: [{label, colour, x: [], y: [], raw, width, fill}]. Steps that only other series have are
/// bridged; null is a gap.
function drawChart(box, series, options = {}) {
  const xs = [...new Set(series.flatMap((one) => one.x))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, index) => [x, index]));
  const columns = series.map((one) => {
    const column = new Array(xs.length).fill(undefined);
    one.x.forEach((x, index) => {
      const value = one.y[index];
      column[place.get(x)] = options.logarithmic && value !== null && value <= 0 ? null : value;
    });
    return column;
  });
  const value = options.value || numberText;
  const points = (few) => (few ? {show: true, size: 5} : {show: false});
  const axis = {stroke: styleValue("--soft"), font: "11px sans-serif",
                grid: {stroke: styleValue("--grid"), width: 1}, ticks: {stroke: styleValue("--grid"), width: 1}};
  const height = options.height || 210;
  const chart = new uPlot({
    width: Math.max(200, Math.floor(box.clientWidth || 400)), height,
    pxAlign: 0.5,
    scales: {x: {time: false}, y: Object.assign({}, options.logarithmic ? {distr: 3} : {}, options.logarithmic ? {} : {range: options.range || rangeOf})},
    cursor: {sync: options.sync ? {key: options.sync} : undefined, drag: {x: true, y: false}, points: {size: 6}},
    legend: {live: true},
    series: [{label: options.xLabel || "step", value: (_, x) => (x === null || x === undefined ? "–" : (options.xText || numberText)(x))}].concat(
        series.map((one) => ({
          label: one.label, stroke: one.colour, width: one.width || 1.4, class: one.raw ? "raw" : undefined,
          fill: one.fill, spanGaps: false, points: points(one.x.length <= 40 && !one.fill && !one.raw),
          value: (chart, shown, index, at) => {
            const own = one.shown && at !== null && at !== undefined ? one.shown[at] : shown;
            return own === null || own === undefined ? "–" : value(own);
          },
        }))),
    bands: options.bands,
    axes: [Object.assign({values: (_, ticks) => ticks.map((x) => (options.xText || axisText)(x))}, axis, {size: 32}, options.xText ? {} : {incrs: kWholeSteps}),
           Object.assign({values: (_, ticks) => ticks.map((y) => (y === null ? "" : (options.value && options.axisValue ? options.axisValue : axisText)(y))),
                          size: 62}, axis)],
  }, [xs].concat(columns), box);
  box.chart = chart;
  resizing.observe(box);
  liveCharts.add(chart);
  return chart;
}

function removeCharts() {
  for (const chart of liveCharts) chart.destroy();
  liveCharts.clear();
}

/// A card with a title whose curves are drawn once it comes into view.
const appearing = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    appearing.unobserve(entry.target);
    if (entry.target.draw) entry.target.draw();
  }
}, {rootMargin: "300px"});

function chartCard(name, title, unit, help, draw) {
  const box = element("div", {class: "chart"});
  const card = element("div", {class: "card", "data-chart": name},
      element("div", {class: "chart-title", title: help || ""}, element("span", {}, title), element("span", {}, unit || "")),
      box);
  box.draw = () => draw(box);
  appearing.observe(box);
  return card;
}

/// The series of one metric for the runs that are shown.
function metricSeries(name, settings) {
  const series = [];
  for (const run of runs) {
    if (settings.hidden.has(run.index)) continue;
    const curve = curveOf(run, name);
    if (curve === null) continue;
    const x = settings.axis === "time" ? timesOf(run, curve.steps) : curve.steps;
    const smooth = settings.smoothing > 0 && curve.values.length > 40;
    if (smooth) {
      series.push({label: run.label + " (raw)", colour: run.colour + "40", x, y: curve.values, raw: true, width: 1});
    }
    series.push({label: run.label, colour: run.colour, x, y: smooth ? smoothed(curve.values, settings.smoothing) : curve.values,
                 width: smooth ? 1.8 : 1.4});
  }
  return series;
}

function metricCard(name, settings) {
  return chartCard(name, name, unitOf(name), definitionOf(name), (box) => {
    drawChart(box, metricSeries(name, settings), {
      logarithmic: settings.logarithmic, sync: "metrics",
      xLabel: settings.axis === "time" ? "time" : "step",
      xText: settings.axis === "time" ? secondsText : undefined,
    });
  });
}
