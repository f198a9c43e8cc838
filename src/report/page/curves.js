// All metrics, with the runs over each other.

const curveSettings = {smoothing: 0.6, axis: "step", logarithmic: false, hidden: new Set(), filter: "", details: false};

function curves(view) {
  const settings = curveSettings;
  const groups = element("div", {id: "curve-groups"});
  const shown = () => {
    let pattern = null;
    try {
      pattern = new RegExp(settings.filter, "i");
    } catch {
      pattern = {test: (name) => name.includes(settings.filter)};
    }
    return metricNames.filter((name) => (settings.details || !isDetail(name)) && pattern.test(name));
  };
  const redraw = () => {
    removeCharts();
    groups.replaceChildren();
    const names = shown();
    count.textContent = `${names.length} of ${metricNames.length} metrics`;
    const byGroup = new Map();
    for (const name of names) {
      const group = name.includes("/") ? name.slice(0, name.indexOf("/")) : "whole step";
      if (!byGroup.has(group)) byGroup.set(group, []);
      byGroup.get(group).push(name);
    }
    for (const [group, members] of byGroup) {
      groups.append(element("h2", {}, group), element("div", {class: "cards"}, members.map((name) => metricCard(name, settings))));
    }
  };
  const filter = element("input", {type: "search", id: "curve-filter", placeholder: "metrics, as text or pattern", value: settings.filter});
  filter.addEventListener("input", settled(() => { settings.filter = filter.value; redraw(); }));
  const smoothing = element("input", {type: "range", id: "smoothing", min: 0, max: 0.99, step: 0.01, value: settings.smoothing});
  const amount = element("span", {}, settings.smoothing.toFixed(2));
  smoothing.addEventListener("input", () => { amount.textContent = Number(smoothing.value).toFixed(2); });
  smoothing.addEventListener("input", settled(() => { settings.smoothing = Number(smoothing.value); redraw(); }));
  const count = element("span", {class: "note", style: "margin:0"});
  view.append(element("div", {class: "controls"}, filter,
      element("label", {}, "smoothing", smoothing, amount),
      choice("over", [["step", "steps"], ["time", "time"]], settings.axis, (value) => { settings.axis = value; redraw(); }),
      checkbox("logarithmic", settings.logarithmic, (value) => { settings.logarithmic = value; redraw(); }),
      checkbox("also minima, maxima, minibatches", settings.details, (value) => { settings.details = value; redraw(); }),
      runs.length > 1 ? runs.map((run) => checkbox(run.label, !settings.hidden.has(run.index), (value) => {
        if (value) settings.hidden.delete(run.index); else settings.hidden.add(run.index);
        redraw();
      }, run.colour)) : [],
      count), groups);
  redraw();
}
