// A browser of answers: filters, order, search, and how the answers to one record changed.

const sampleSettings = {run: "all", from: "", to: "", low: "", high: "", dataset: "all", text: "", order: "last", only: "all"};
const kSamplesAtOnce = 40;

function samplesView(view) {
  const all = samples();
  if (!all.length) {
    view.append(element("p", {class: "note"}, "There are no recorded answers (dump_samples = true of the call that gives rewards records them)."));
    return;
  }
  const settings = sampleSettings;
  const list = element("div", {id: "sample-list"});
  const count = element("span", {class: "note", id: "sample-count", style: "margin:0"});
  const redraw = () => showSamples(list, count, all, settings);
  const later = settled(redraw);
  const field = (name, type, placeholder) => {
    const input = element("input", {type, id: "sample-" + name, placeholder, value: settings[name], step: "any"});
    input.addEventListener("input", () => { settings[name] = input.value; later(); });
    return input;
  };
  const pick = (label, name, options) => choice(label, options, settings[name], (value) => { settings[name] = value; redraw(); });
  const datasets = [...new Set(all.map((sample) => sample.dataset))].sort();
  const has = all.some((sample) => sample.tokens);
  view.append(element("div", {class: "controls"}, field("text", "search", "text in prompt, answer, reference"),
      runs.length > 1 ? pick("run", "run", [["all", "all"]].concat(runs.map((run) => [run.index, run.label]))) : null,
      element("label", {}, "steps", field("from", "number", "from"), field("to", "number", "to")),
      element("label", {}, "reward", field("low", "number", "from"), field("high", "number", "to")),
      datasets.length > 1 ? pick("data set", "dataset", [["all", "all"]].concat(datasets.map((name) => [name, name || "(none)"]))) : null,
      pick("order", "order", [["last", "latest first"], ["first", "earliest first"], ["best", "best first"], ["worst", "worst first"], ["changed", "most changed"]]),
      pick("only", "only", [["all", "all"], ["failed", "without a reward"], ["cut", "cut off"]]), count), list,
      element("p", {class: "note"}, runs.map((run) => `${run.label}: ${all.filter((sample) => sample.run === run.index).length} of ${run.n_samples} answers.`).join(" ") +
          " " + (data.sample_rule ? "Chosen: " + data.sample_rule + "." : "")),
      has ? element("p", {class: "note"}, "Colour of a token: its probability, from ",
          element("span", {class: "legend-bar", style: "background:linear-gradient(90deg," + [0, -1, -2, -4, -8].map(tokenColour).join(",") + ")"}),
          " likely to unlikely (log-probability 0 to -8).") : "");
  redraw();
}

function chosenSamples(all, settings) {
  const number = (text, otherwise) => (text === "" ? otherwise : Number(text));
  const from = number(settings.from, -Infinity), to = number(settings.to, Infinity);
  const low = number(settings.low, -Infinity), high = number(settings.high, Infinity);
  const bounded = settings.low !== "" || settings.high !== "";
  const wanted = settings.text.toLowerCase();
  return all.filter((sample) => (settings.run === "all" || sample.run === Number(settings.run)) && sample.step >= from && sample.step <= to &&
      (!bounded || (sample.reward !== null && sample.reward >= low && sample.reward <= high)) &&
      (settings.dataset === "all" || sample.dataset === settings.dataset) &&
      (settings.only === "all" || (settings.only === "failed" ? sample.failed !== "" || sample.reward === null : sample.finish === "length")) &&
      (wanted === "" || sample.response.toLowerCase().includes(wanted) || sample.prompt.toLowerCase().includes(wanted) ||
       sample.answer.toLowerCase().includes(wanted)));
}

/// Records with their answers of the first and the last step that has them, largest change first.
function changedRecords(chosen) {
  const records = new Map();
  for (const sample of chosen) {
    if (sample.reward === null) continue;
    const name = sample.run + "\n" + sample.dataset + "\n" + (sample.record || sample.prompt);
    if (!records.has(name)) records.set(name, []);
    records.get(name).push(sample);
  }
  const changes = [];
  for (const members of records.values()) {
    const steps = members.map((sample) => sample.step);
    const first = Math.min(...steps), last = Math.max(...steps);
    if (first === last) continue;
    const of = (step) => members.filter((sample) => sample.step === step);
    const mean = (list) => list.reduce((sum, sample) => sum + sample.reward, 0) / list.length;
    changes.push({before: of(first), after: of(last), change: mean(of(last)) - mean(of(first))});
  }
  return changes.sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
}

function showSamples(list, count, all, settings) {
  const chosen = chosenSamples(all, settings);
  list.replaceChildren();
  if (settings.order === "changed") {
    const changes = changedRecords(chosen);
    count.textContent = counted(changes.length, "record") + " with answers at several steps";
    showInParts(list, changes, (change) => changeCard(change, settings.text), 15);
    return;
  }
  const missing = settings.order === "best" ? -Infinity : Infinity;
  const reward = (sample) => (sample.reward === null ? missing : sample.reward);
  const orders = {
    last: (a, b) => (b.step - a.step) || (a.id - b.id) || (a.member - b.member),
    first: (a, b) => (a.step - b.step) || (a.id - b.id) || (a.member - b.member),
    best: (a, b) => (reward(b) - reward(a)) || (b.step - a.step), worst: (a, b) => (reward(a) - reward(b)) || (b.step - a.step),
  };
  chosen.sort((a, b) => orders[settings.order](a, b) || 0);
  count.textContent = counted(chosen.length, "answer");
  showInParts(list, chosen, (sample) => sampleCard(sample, settings.text), kSamplesAtOnce);
}

/// The first of `things`, and a button for more.
function showInParts(list, things, card, atOnce) {
  let shown = 0;
  const more = element("button", {class: "button"}, "more");
  const show = () => {
    const fresh = things.slice(shown, shown + atOnce).map(card);
    shown += fresh.length;
    more.remove();
    list.append(...fresh);
    if (shown < things.length) {
      more.textContent = `more (${things.length - shown} left)`;
      list.append(more);
    }
  };
  more.addEventListener("click", show);
  show();
}

/// A text with what is searched for marked.
function marked(text, wanted) {
  const box = element("p", {class: "text"});
  if (text === "") box.append(element("span", {class: "note"}, "(empty)"));
  if (wanted === "") {
    box.append(text);
    return box;
  }
  const lower = text.toLowerCase(), sought = wanted.toLowerCase();
  // Lower case may be longer than the text it is of; then nothing is marked.
  let from = 0;
  for (let at = lower.length === text.length ? lower.indexOf(sought) : -1; at >= 0; at = lower.indexOf(sought, from)) {
    box.append(text.slice(from, at), element("mark", {}, text.slice(at, at + sought.length)));
    from = at + sought.length;
  }
  box.append(text.slice(from));
  return box;
}

/// From likely (no colour) to unlikely (red).
function tokenColour(logProb) {
  if (logProb === null) return "transparent";
  const share = Math.min(1, Math.max(0, -logProb / 8));
  return `rgba(220, 60, 40, ${(0.75 * Math.sqrt(share)).toFixed(3)})`;
}

function tokenText(sample) {
  const box = element("p", {class: "text"});
  sample.tokens.forEach((token, index) => {
    const number = sample.logProbs[index];
    const title = number === null ? "not finite" : `log p ${number.toPrecision(4)}, p ${Math.exp(number).toPrecision(3)}`;
    box.append(element("span", {class: "token", style: "background:" + tokenColour(number), title}, token));
  });
  return box;
}

function rewardChip(sample) {
  if (sample.failed || sample.reward === null) return element("span", {class: "chip bad"}, "no reward" + (sample.failed ? ": " + sample.failed : ""));
  return element("span", {class: "chip " + (sample.reward > 0 ? "good" : "bad")}, "reward " + numberText(sample.reward));
}

/// {"line": 24, "id": "tiny"} as words; anything else as it is.
function recordText(record) {
  try {
    const value = JSON.parse(record);
    if (value !== null && typeof value === "object") return Object.entries(value).map(([name, of]) => `${name} ${of}`).join(", ");
  } catch {
    // A name, not an object.
  }
  return "record " + record;
}

function samplePart(name, content) {
  return element("div", {}, element("div", {class: "part-name"}, name), content);
}

function sampleCard(sample, wanted) {
  return element("div", {class: "card sample"},
      element("div", {}, runs.length > 1 ? element("span", {class: "dot", style: "background:" + runs[sample.run].colour}) : null,
          element("span", {class: "chip"}, "step " + sample.step), rewardChip(sample),
          sample.finish === "length" ? element("span", {class: "chip warn"}, "cut off") : null,
          sample.dataset ? element("span", {class: "chip"}, sample.dataset) : null,
          `sample ${sample.id}, answer ${sample.member}` + (sample.record ? ", " + recordText(sample.record) : "")),
      element("div", {class: "parts"}, samplePart("prompt", marked(sample.prompt, wanted)),
          samplePart("answer", sample.tokens && wanted === "" ? tokenText(sample) : marked(sample.response, wanted)),
          samplePart("reference", marked(sample.answer, wanted))));
}

function changeCard(change, wanted) {
  const first = change.before[0];
  const side = (members) => samplePart(`step ${members[0].step}: mean reward ${numberText(members.reduce((sum, one) => sum + one.reward, 0) / members.length)}`,
      element("div", {}, members.map((sample) => element("div", {style: "margin-bottom:6px"}, rewardChip(sample), marked(sample.response, wanted)))));
  return element("div", {class: "card sample"},
      element("div", {}, runs.length > 1 ? element("span", {class: "dot", style: "background:" + runs[first.run].colour}) : null,
          element("span", {class: "chip " + (change.change > 0 ? "good" : "bad")}, (change.change > 0 ? "+" : "") + numberText(change.change)),
          first.dataset ? element("span", {class: "chip"}, first.dataset) : null, first.record ? recordText(first.record) : "",
          first.answer ? `, reference ${first.answer}` : ""),
      element("div", {class: "parts", style: "grid-template-columns:minmax(0,.7fr) minmax(0,1fr) minmax(0,1fr)"},
          samplePart("prompt", marked(first.prompt, wanted)), side(change.before), side(change.after)));
}
