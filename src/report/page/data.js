// What the page is about, read from its own script elements.

const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
runs.forEach((run, index) => {
  run.index = index;
  run.colour = colourOf(index);
  // Runs of one name are told apart by their folders.
  run.label = runs.filter((other) => other.name === run.name).length > 1 ? run.path : run.name;
});

/// {steps, values} of a metric of a run, or null. Values that were not finite are null.
function curveOf(run, name) {
  if (!Object.prototype.hasOwnProperty.call(run.curves, name)) return null;
  const [list, values] = run.curves[name];
  return {steps: run.steps[list], values};
}

const lastOf = (curve) => {
  for (let i = curve ? curve.values.length : 0; i-- > 0;) {
    if (curve.values[i] !== null) return curve.values[i];
  }
  return null;
};

const metricNames = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))].sort();
const isDetail = (name) => /_(min|max)$/.test(name) || /\/minibatch\d+\//.test(name) || /^time\/.*\/mean$/.test(name);
const unitOf = (name) => (data.definitions[name] ? data.definitions[name][0] : "");
const definitionOf = (name) => (data.definitions[name] ? data.definitions[name][1] : "");

/// Seconds since the run began for each of `steps`, by interpolation.
function timesOf(run, steps) {
  const [list, seconds] = run.times;
  const known = run.steps[list];
  let at = 0;
  return steps.map((step) => {
    while (at + 1 < known.length && known[at + 1] <= step) ++at;
    return known.length ? seconds[at] : step;
  });
}

/// Exponential moving average that forgets its start; gaps stay gaps.
function smoothed(values, weight) {
  if (weight <= 0) return values;
  let mean = 0, norm = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    norm = weight * norm + (1 - weight);
    mean += (1 - weight) / norm * (value - mean);  // of equal values exactly their value
    return mean;
  });
}

let allSamples = null;
/// The answers of all runs as objects; read when they are first wanted.
function samples() {
  if (allSamples !== null) return allSamples;
  allSamples = [];
  const parts = JSON.parse(document.getElementById("samples-data").textContent);
  parts.forEach((part, index) => {
    for (const row of part.rows) {
      allSamples.push({run: index, step: row[0], id: row[1], member: row[2], reward: row[3],
                       prompt: part.texts[row[4]], answer: part.texts[row[5]], response: row[6],
                       finish: part.texts[row[7]], failed: part.texts[row[8]], dataset: part.texts[row[9]],
                       record: part.texts[row[10]], tokens: row[11] || null, logProbs: row[12] || null});
    }
  });
  return allSamples;
}
