// The graph of calls with their layouts, and all that `orrery plan` says.

function graphView(view) {
  const shown = new Map();  // runs of one graph share a picture
  for (const run of runs) {
    const name = JSON.stringify([run.plan.calls, run.plan.edges, run.plan.problem]);
    if (!shown.has(name)) shown.set(name, []);
    shown.get(name).push(run);
  }
  for (const members of shown.values()) {
    const run = members[0];
    view.append(element("h2", {}, members.map((member) => member.label).join(", ")));
    if (run.plan.problem) {
      view.append(element("p", {class: "note"}, "The plan of this run cannot be made here: "), element("pre", {}, run.plan.problem));
    }
    if (run.plan.calls.length) view.append(element("div", {class: "card", style: "overflow:auto"}, graphPicture(run.plan)));
    for (const member of members) {
      if (!member.plan.text) continue;
      view.append(element("details", {open: members.length === 1}, element("summary", {}, `all of the plan of ${member.label}`), element("pre", {}, member.plan.text)));
    }
  }
}

function graphPicture(plan) {
  const kWidth = 250, kHeight = 74, kAcross = 60, kDown = 96;
  const levels = [];
  for (const call of plan.calls) (levels[call.level] = levels[call.level] || []).push(call);
  const widest = Math.max(...levels.map((level) => level.length));
  const body = widest * (kWidth + kAcross) + kAcross;
  const width = body + 260;  // room for edges that pass a level, and their keys
  const height = levels.length * (kHeight + kDown) - kDown + 24;
  const places = new Map();
  levels.forEach((level, row) => level.forEach((call, column) => {
    const free = body - level.length * (kWidth + kAcross) + kAcross;
    places.set(call.name, {x: free / 2 + column * (kWidth + kAcross), y: 10 + row * (kHeight + kDown)});
  }));
  const picture = drawn("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img"});
  picture.append(drawn("defs", {}, drawn("marker", {id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto"},
      drawn("path", {d: "M0 0L8 4L0 8z", fill: styleValue("--soft")}))));
  let farEdges = 0;
  plan.edges.forEach(([from, to, keys]) => {
    const a = places.get(from), b = places.get(to);
    if (!a || !b) return;
    const siblings = plan.edges.filter((edge) => edge[1] === to && places.has(edge[0]) && b.y - places.get(edge[0]).y <= kHeight + kDown);
    const order = siblings.findIndex((edge) => edge[0] === from);
    const shift = order < 0 ? 0 : (order - (siblings.length - 1) / 2) * 46 - 20;
    const x1 = a.x + kWidth / 2, y1 = a.y + kHeight, x2 = b.x + kWidth / 2 + shift, y2 = b.y - 1;
    const far = y2 - y1 > kDown + 2;
    // An edge that passes a level goes along the right side, each on a line of its own.
    const side = body - kAcross + 14 + 16 * (farEdges += far ? 1 : 0);
    const enters = b.y - 8 - 7 * farEdges, into = b.x + kWidth - 24;
    const path = far ? `M${a.x + kWidth} ${a.y + kHeight / 2}H${side - 8}q8 0 8 8V${enters - 8}q0 8 -8 8H${into}V${b.y - 1}`
                     : `M${x1} ${y1}C${x1} ${y1 + 40} ${x2} ${y2 - 60} ${x2} ${y2}`;
    const edge = drawn("path", {d: path, class: "edge", "marker-end": "url(#arrow)"});
    edge.append(drawn("title", {}, `${from} → ${to}: ${keys}`));
    picture.append(edge);
    const short = keys.length > 30 ? keys.slice(0, 28) + "…" : keys;
    const label = drawn("text", {class: "soft", x: far ? side + 8 : x2 + 6, y: far ? y1 + 40 + 18 * farEdges : y2 - 26 - 14 * ((siblings.length - 1 - order) % 3)}, short);
    label.append(drawn("title", {}, keys));
    picture.append(label);
  });
  for (const call of plan.calls) {
    const {x, y} = places.get(call.name);
    const group = drawn("g", {});
    group.append(drawn("rect", {x, y, width: kWidth, height: kHeight, rx: 7, class: "box " + call.kind}));
    const line = (text, row, soft) => group.append(drawn("text", {x: x + 12, y: y + 20 + row * 16, class: soft ? "soft" : "", "font-weight": row ? 400 : 650}, text));
    line(call.name, 0);
    line(`${call.kind} · ${call.interface}`, 1, true);
    line(`${call.role}  ${call.layout}`, 2, true);
    line(`${call.n_seqs} samples` + (call.runs > 1 ? `, ${call.runs} times a step` : ""), 3, true);
    picture.append(group);
  }
  return picture;
}
