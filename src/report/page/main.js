// The tabs. The address' #part says which view is open.

const views = [
  ["overview", "Overview", overview], ["curves", "Curves", curves], ["time", "Time", timeView],
  ["workers", "Workers and memory", workersView], ["graph", "Graph and layouts", graphView],
  ["config", "Configuration", configView], ["samples", "Samples", samplesView], ["log", "Log", logView],
].filter(([name]) => metricNames.length || runs.some((run) => run.config.length) || name === "samples");

function open(name) {
  const [chosen, , draw] = views.find(([known]) => known === name) || views[0];
  for (const tab of document.querySelectorAll("#tabs button")) {
    tab.setAttribute("aria-selected", String(tab.dataset.view === chosen));
  }
  removeCharts();
  const view = document.getElementById("view");
  view.replaceChildren();
  view.dataset.view = chosen;
  draw(view);
}

document.getElementById("title").textContent = document.title;
for (const [name, text] of views) {
  document.getElementById("tabs").append(element("button", {role: "tab", "data-view": name, onclick: () => { location.hash = name; }}, text));
}
document.getElementById("footer").textContent = `Written ${data.made} by orrery ${data.program}. Curves of more than ${data.most_points} points are thinned to ` +
    "the smallest and largest value of each partition. Charts by uPlot (MIT licence).";
window.addEventListener("hashchange", () => open(location.hash.slice(1)));
open(location.hash.slice(1));
if (data.refresh > 0) {
  // Written anew while the run goes on: look again, but not while someone reads or types.
  let touched = Date.now();
  for (const name of ["pointermove", "keydown", "scroll"]) window.addEventListener(name, () => { touched = Date.now(); }, {passive: true});
  setInterval(() => { if (Date.now() - touched > 20000) location.reload(); }, 1000 * data.refresh);
}
document.documentElement.dataset.ready = String(Math.round(performance.now()));
