// Elements, numbers and colours. Texts of runs only ever become text nodes.

/// An element with attributes and children; strings among the children are text.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/// A number for a table: four significant digits, large ones with a unit.
function numberText(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return value.toExponential(3);
  if (size >= 1e12) return (value / 1e12).toPrecision(4) + " T";
  if (size >= 1e9) return (value / 1e9).toPrecision(4) + " G";
  if (size >= 1e6) return (value / 1e6).toPrecision(4) + " M";
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

function axisText(value) {
  const size = Math.abs(value);
  const short = (number) => String(Number(number.toPrecision(6)));
  if (size >= 1e15 || (size > 0 && size < 1e-3)) return Number(value.toPrecision(6)).toExponential();
  for (const [unit, name] of [[1e12, " T"], [1e9, " G"], [1e6, " M"]]) {
    if (size >= unit) return short(value / unit) + name;
  }
  return short(value);
}

function secondsText(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 1e-3) return (value * 1e6).toFixed(0) + " µs";
  if (value < 1) return (value * 1e3).toPrecision(3) + " ms";
  if (value < 60) return value.toPrecision(3) + " s";
  if (value < 3600) return Math.floor(value / 60) + "m" + String(Math.floor(value % 60)).padStart(2, "0") + "s";
  return Math.floor(value / 3600) + "h" + String(Math.floor(value % 3600 / 60)).padStart(2, "0") + "m";
}

function bytesText(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit + 1 < units.length; ++unit) value /= 1024;
  return (unit ? value.toPrecision(3) : value) + " " + units[unit];
}

const kColours = ["#2563eb", "#dc6803", "#15803d", "#c11574", "#0e7490", "#7a5af8", "#b91c1c", "#4d7c0f",
                  "#a16207", "#475467"];
const kBrightColours = ["#7aa2ff", "#fdb022", "#4ade80", "#f670c7", "#22d3ee", "#b692f6", "#f87171", "#a3e635",
                        "#eab308", "#98a2b3"];
const isDark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
const colourOf = (index) => (isDark ? kBrightColours : kColours)[index % kColours.length];
const styleValue = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/// Rows under a heading. A cell is a text, an element, or {text, class}.
function table(heading, rows, attributes = {}) {
  const cell = (tag, content) => {
    if (content !== null && typeof content === "object" && !(content instanceof Node)) {
      return element(tag, {class: content.class, title: content.title}, content.text);
    }
    return element(tag, {}, content === null || content === undefined ? "" : content);
  };
  const row = (cells) => {
    const made = element("tr", {class: cells.class});
    for (const content of cells) made.append(cell("td", content));
    return made;
  };
  return element("div", {class: "table-box"},
      element("table", {class: "data " + (attributes.class || "")},
          element("thead", {}, element("tr", {}, heading.map((content) => cell("th", content)))),
          element("tbody", {}, rows.map(row))));
}
const asNumber = (text) => ({text: text, class: "number"});

const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

/// Calls `act` when nothing more has happened for a moment.
function settled(act, milliseconds = 120) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds);
  };
}

function choice(label, options, value, change) {
  const select = element("select", {onchange: () => change(select.value)},
      options.map(([name, text]) => element("option", {value: name, selected: String(name) === String(value)}, text)));
  return element("label", {}, label, select);
}

function checkbox(label, value, change, colour) {
  const input = element("input", {type: "checkbox", checked: value, onchange: () => change(input.checked)});
  return element("label", {}, input, colour ? element("span", {class: "dot", style: "background:" + colour}) : null,
                 label);
}
