// Where the time of a step goes, what the workers do, what they hold in memory.

const timeSettings = {run: 0, by: "phase"};
const kStretches = 240;

/// Means over partitions of steps, so that a long run is still an area.
function bySpan(curve, steps) {
  const at = new Map(curve.steps.map((step, index) => [step, curve.values[index]]));
  const size = Math.max(1, Math.ceil(steps.length / kStretches));
  const means = [];
  for (let begin = 0; begin < steps.length; begin += size) {
    let sum = 0;
    const part = steps.slice(begin, begin + size);
    for (const step of part) sum += at.get(step) || 0;
    means.push(sum / part.length);
  }
  return means;
}

function spanSteps(steps) {
  const size = Math.max(1, Math.ceil(steps.length / kStretches));
  return steps.filter((_, index) => index % size === 0);
}

/// [{name, curve}] of the parts of a step.
function timeParts(run, by) {
  const parts = [];
  for (const name of Object.keys(run.curves)) {
    const whole = /^time\/(.+)\/total$/.exec(name);
    const phase = /^time\/(.+?)\/((?:load\/)?main|pre\/[^/]+|post\/[^/]+)\/max$/.exec(name);
    if (by === "call" && whole) parts.push({name: whole[1], metric: name, curve: curveOf(run, name)});
    if (by === "phase" && phase) parts.push({name: phase[1] + " " + phase[2], metric: name, curve: curveOf(run, name)});
  }
  return parts;
}

function timeView(view) {
  const settings = timeSettings;
  const body = element("div", {});
  const draw = () => {
    removeCharts();
    body.replaceChildren();
    drawTime(body, runs[settings.run], settings.by);
  };
  view.append(element("div", {class: "controls"},
      runs.length > 1 ? choice("run", runs.map((run) => [run.index, run.label]), settings.run, (value) => { settings.run = Number(value); draw(); }) : null,
      choice("by", [["call", "call"], ["phase", "call and phase"]], settings.by, (value) => { settings.by = value; draw(); })), body);
  draw();
}

function drawTime(body, run, by) {
  const parts = timeParts(run, by);
  const [all, n] = run.totals["time/step"] || [0, 0];
  const whole = curveOf(run, "time/step");
  if (!whole || !parts.length) {
    body.append(element("p", {class: "note"}, "This run has no times yet."));
    return;
  }
  const steps = spanSteps(whole.steps);
  let below = new Array(steps.length).fill(0);
  const layers = parts.map((part) => {
    const own = bySpan(part.curve, whole.steps);
    below = below.map((sum, index) => sum + own[index]);
    return {name: part.name, own, top: below};
  });
  const total = bySpan(whole, whole.steps);
  const gap = total.map((seconds, index) => Math.max(0, seconds - below[index]));
  if (Math.max(...gap) > 0) {
    layers.push({name: "rest: master, waiting", own: gap, top: below.map((sum, index) => sum + gap[index]), rest: true});
  }
  // From the top down, so that each layer covers the part of the one above that is not its own.
  const series = layers.map((layer, index) => {
    const colour = layer.rest ? (isDark ? "#475467" : "#d0d5dd") : colourOf(index);
    return {label: layer.name, colour, fill: colour, x: steps, y: layer.top, shown: layer.own, width: 0.5};
  }).reverse();
  body.append(element("h2", {}, "Seconds of a step"),
      element("p", {class: "note"}, (by === "phase" ? "Of a phase the seconds of its slowest worker. " : "Of a call the seconds from its dispatch to the last reply. ") +
          "Calls on different workers overlap: the sum may be more than the step took." +
          (whole.steps.length > kStretches ? ` A point is the mean of ${Math.ceil(n / kStretches)} steps.` : "")),
      chartCard("time", "time per step", "s", "", (box) => drawChart(box, series, {height: 340, value: secondsText, range: (_, low, high) => [0, high * 1.05]})));
  const rows = parts.map((part) => ({name: part.name, seconds: run.totals[part.metric][0]}));
  rows.sort((a, b) => b.seconds - a.seconds);
  body.append(element("h2", {}, "Over the whole run"), table(
      ["part", {text: "seconds", class: "number"}, "share of all steps", {text: "mean a step", class: "number"}],
      rows.map((row) => [row.name, asNumber(secondsText(row.seconds)),
                         element("span", {}, element("span", {class: "bar", style: `width:${Math.min(220, 200 * row.seconds / all)}px`}),
                                 (100 * row.seconds / all).toFixed(1) + " %"),
                         asNumber(secondsText(row.seconds / n))])));
}

const workerSettings = {run: 0};

function workersView(view) {
  const body = element("div", {});
  const draw = () => {
    removeCharts();
    body.replaceChildren();
    drawWorkers(body, runs[workerSettings.run]);
    drawMemory(body, runs[workerSettings.run]);
  };
  if (runs.length > 1) {
    view.append(element("div", {class: "controls"}, choice("run", runs.map((run) => [run.index, run.label]), workerSettings.run,
        (value) => { workerSettings.run = Number(value); draw(); })));
  }
  view.append(body);
  draw();
}

/// {steps, values}: share of each step in which the worker did something.
function busyShare(run, worker) {
  const whole = curveOf(run, "time/step");
  const [list, seconds] = worker.busy;
  const steps = run.workers.steps[list];
  if (!whole) return {steps: [], values: []};
  const of = new Map(whole.steps.map((step, index) => [step, whole.values[index]]));
  const shares = {steps: [], values: []};
  steps.forEach((step, index) => {
    const length = of.get(step);
    if (!length || seconds[index] === null) return;
    shares.steps.push(step);
    shares.values.push(Math.min(1, seconds[index] / length));
  });
  return shares;
}

function drawWorkers(body, run) {
  body.append(element("h2", {}, "Utilisation of the workers"));
  const workers = run.workers.of;
  if (!workers.length) {
    body.append(element("p", {class: "note"}, "This run has no trace of its workers."));
    return;
  }
  const shares = workers.map((worker) => busyShare(run, worker));
  body.append(element("p", {class: "note"}, "Share of each step in which the worker computed, moved samples or parameters, from its trace" +
                                            (workers.length > 16 ? "; curves of the first 16" : "") + "."),
      chartCard("utilisation", "busy share of a step", "share", "", (box) => drawChart(box, workers.slice(0, 16).map((worker, index) => ({
        label: worker.name, colour: colourOf(index), x: shares[index].steps, y: smoothed(shares[index].values, 0.6)})),
        {height: 240, range: () => [0, 1.02]})));
  const spans = [...new Set(workers.flatMap((worker) => Object.keys(worker.spans)))];
  const sum = (name) => workers.reduce((all, worker) => all + (worker.spans[name] || 0), 0);
  spans.sort((a, b) => sum(b) - sum(a));
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
  body.append(element("div", {style: "height:14px"}), table(
      ["worker", "busy", {text: "lowest", class: "number"}].concat(spans.slice(0, 12).map((name) => ({text: name, class: "number"}))),
      workers.map((worker, index) => {
        const share = mean(shares[index].values);
        return [{text: worker.name, class: "whole"},
                element("span", {class: "whole"}, element("span", {class: "bar", style: `width:${100 * (share || 0)}px`}), share === null ? "–" : (100 * share).toFixed(0) + " %"),
                asNumber(shares[index].values.length ? (100 * shares[index].values.reduce((a, b) => Math.min(a, b), 1)).toFixed(0) + " %" : "–")]
            .concat(spans.slice(0, 12).map((name) => asNumber(name in worker.spans ? secondsText(worker.spans[name]) : "")));
      })));
}

function drawMemory(body, run) {
  body.append(element("h2", {}, "Memory"));
  const measured = run.workers.of.map((worker) => ({name: worker.name, steps: run.workers.steps[worker.resident[0]], values: worker.resident[1]}));
  const largest = (values) => values.reduce((most, value) => Math.max(most, value || 0), 0);
  const predicted = run.plan.workers;
  if (!predicted.length && !measured.some((worker) => worker.values.length)) {
    body.append(element("p", {class: "note"}, "Nothing is known: " + (run.plan.problem || "no trace of memory") + "."));
    return;
  }
  body.append(element("p", {class: "note"}, "Predicted: parameters, gradients and optimizer, generation, without activations and samples. " +
      "Measured: the resident memory of the worker's process after its calls, libraries included (some hundred MiB)."));
  const n = Math.max(predicted.length, measured.length);
  const rows = [];
  for (let index = 0; index < n; ++index) {
    const plan = predicted[index];
    const real = measured[index];
    const cells = plan ? [plan.parameters, plan.training, plan.generation].map((bytes) => asNumber(bytesText(bytes))) : ["", "", ""];
    const all = plan ? plan.parameters + plan.training + plan.generation : null;
    rows.push([real ? real.name : "worker " + index, plan ? plan.replicas : ""].concat(cells, [
      asNumber(all === null ? "" : bytesText(all)), asNumber(real && real.values.length ? bytesText(largest(real.values)) : "not recorded")]));
  }
  body.append(table(["worker", "holds"].concat(["parameters", "training", "generation", "predicted", "measured, largest"].map(
      (text) => ({text, class: "number"}))), rows));
  if (measured.some((worker) => worker.values.length)) {
    body.append(element("div", {style: "height:14px"}), chartCard("memory", "resident memory", "bytes", "", (box) => drawChart(box,
        measured.slice(0, 16).map((worker, index) => ({label: worker.name, colour: colourOf(index), x: worker.steps, y: worker.values})),
        {height: 220, value: bytesText, axisValue: bytesText})));
  }
}
