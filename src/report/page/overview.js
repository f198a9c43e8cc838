// The first view: how each run stands, what matters most, evaluations, warnings.

const kMatters = ["eval/accuracy", /^eval\/[^/]+\/accuracy$/, "eval/preference_accuracy", "eval/loss", /\/task_reward$/, /^[^/]*reward[^/]*\/reward$/, /\/reward$/, /\/accuracy$/, /\/loss$/,
                  /\/entropy$/, /\/approx_kl$/, /\/ref_divergence$/, /\/grad_norm$/, /\/response_length$/,
                  /\/no_eos_ratio$/, /\/clip_fraction$/, /\/tokens_per_second$/, "time/step"];

function importantMetrics(most) {
  const chosen = [];
  for (const wanted of kMatters) {
    for (const name of metricNames) {
      const fits = typeof wanted === "string" ? name === wanted : wanted.test(name) && !isDetail(name);
      if (fits && !chosen.includes(name) && !name.includes("/dataset/")) chosen.push(name);
    }
  }
  return chosen.slice(0, most);
}

function runTile(run) {
  const [list, seconds] = run.times;
  const steps = run.steps[list];
  const facts = [["state", run.state]];
  if (steps.length) {
    facts.push(["steps", "up to " + steps[steps.length - 1]], ["time", secondsText(seconds[seconds.length - 1])]);
  }
  for (const name of ["eval/accuracy", "eval/preference_accuracy", "eval/loss"]) {
    const curve = curveOf(run, name);
    if (curve) facts.push([name, numberText(curve.values[0]) + " → " + numberText(lastOf(curve))]);
  }
  if (run.workers.of.length) facts.push(["workers", String(run.workers.of.length)]);
  const warnings = run.log.filter((line) => line[1] === "warning").length;
  const errors = run.log.length - warnings;
  if (run.log.length) facts.push(["log", `${warnings} warnings, ${errors} errors`]);
  if (run.n_problems) facts.push(["damage", `${run.n_problems} damaged lines left out (Log)`]);
  facts.push(["folder", run.path]);
  return element("div", {class: "card tile"},
      element("h3", {}, element("span", {class: "dot", style: "background:" + run.colour}), run.label),
      element("dl", {}, facts.map(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]).flat()));
}

/// A row for each evaluation of each run.
function evaluationTable() {
  const names = metricNames.filter((name) => name.startsWith("eval") && !isDetail(name));
  const rows = [];
  for (const run of runs) {
    const steps = new Set();
    for (const name of names) (curveOf(run, name) || {steps: []}).steps.forEach((step) => steps.add(step));
    for (const step of [...steps].sort((a, b) => a - b)) {
      rows.push([run.label, asNumber(String(step))].concat(names.map((name) => {
        const curve = curveOf(run, name);
        const at = curve ? curve.steps.indexOf(step) : -1;
        return asNumber(at < 0 ? "" : numberText(curve.values[at]));
      })));
    }
  }
  if (!rows.length) return null;
  return table(["run", {text: "step", class: "number"}].concat(
      names.map((name) => ({text: name, class: "number", title: definitionOf(name)}))), rows);
}

function overview(view) {
  view.append(element("div", {class: "tiles"}, runs.map(runTile)));
  const settings = {smoothing: 0.6, axis: "step", logarithmic: false, hidden: new Set()};
  const names = importantMetrics(9);
  if (names.length) {
    view.append(element("h2", {}, "What matters first"),
        element("p", {class: "note"}, "Thick: smoothed, faint: as measured. Drag over a chart to enlarge, double-click to see all again. All metrics are under Curves."),
        element("div", {class: "cards"}, names.map((name) => metricCard(name, settings))));
  } else {
    view.append(element("p", {class: "note"}, "There are no metrics yet."));
  }
  const evaluations = evaluationTable();
  if (evaluations) view.append(element("h2", {}, "Evaluations"), evaluations);
}

function logView(view) {
  for (const run of runs) {
    view.append(element("h2", {}, run.label));
    if (!run.log.length && !run.n_problems) {
      view.append(element("p", {class: "note"}, "No warnings, no errors, nothing damaged."));
      continue;
    }
    if (run.log.length) {
      view.append(table(["time", "level", "text", {text: "times", class: "number"}], run.log.map((line) =>
          [line[0].replace("T", " ").slice(0, 19),
           element("span", {class: "chip " + (line[1] === "error" ? "bad" : "warn")}, line[1]), line[2],
           asNumber(String(line[3]))]), {class: "log"}));
    }
    if (run.n_problems) {
      view.append(element("h3", {style: "margin-top:14px"}, `Damaged: ${run.n_problems}`),
                  element("pre", {}, run.problems.join("\n")));
    }
  }
}
