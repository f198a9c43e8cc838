// The resolved configurations side by side; what differs comes first.

const configSettings = {filter: "", all: runs.length === 1};

function configView(view) {
  const keys = [];
  const values = runs.map((run) => {
    const map = new Map();
    for (const [section, key, value] of run.config) {
      const name = (section ? section + "." : "") + key;
      map.set(name, value);
      keys.push(name);
    }
    return map;
  });
  const names = [...new Set(keys)];
  const differs = (name) => runs.length > 1 && values.some((map) => map.get(name) !== values[0].get(name));
  const box = element("div", {});
  const redraw = () => {
    const wanted = configSettings.filter.toLowerCase();
    const shown = names.filter((name) => (configSettings.all || differs(name)) &&
        (name.toLowerCase().includes(wanted) || values.some((map) => (map.get(name) || "").toLowerCase().includes(wanted))));
    const rows = shown.filter(differs).concat(shown.filter((name) => !differs(name))).map((name) => {
      const cells = [name].concat(values.map((map) => (map.has(name) ? {text: map.get(name), class: "value"} : {text: "not there", class: "note"})));
      cells.class = differs(name) ? "differs" : "";
      return cells;
    });
    box.replaceChildren(rows.length ? table(["key"].concat(runs.map((run) => run.label)), rows)
                                    : element("p", {class: "note"}, runs.length > 1 && !configSettings.all ? "The configurations are the same." : "There is no such key."));
  };
  const filter = element("input", {type: "search", id: "config-filter", placeholder: "key or value", value: configSettings.filter});
  filter.addEventListener("input", settled(() => { configSettings.filter = filter.value; redraw(); }));
  view.append(element("div", {class: "controls"}, filter,
      runs.length > 1 ? checkbox("also what is the same", configSettings.all, (value) => { configSettings.all = value; redraw(); }) : null,
      runs.length > 1 ? element("span", {class: "note", style: "margin:0"}, `${names.filter(differs).length} of ${names.length} keys differ`) : null), box);
  redraw();
}
