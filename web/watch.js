"use strict";
// Runs are read from where the last reading ended. What comes from files is set as text, never as HTML.

const COLOURS = ["#2458c6", "#c2571a", "#1b7a3d", "#8a3ab9", "#b3261e", "#0b7c8a", "#7a6a00", "#5b6675"];
const SHOWN = 4;                        // runs that are drawn without being asked for: those that changed last
const POINTS = 400;
const NOT_DRAWN = new Set(["step", "set", "time", "seconds", "tokens"]);
const runs = new Map();                 // name: {name, bytes, changed, samples, at, rows, shown, colour}
let first = true, chosen = null;

const short = x => x === undefined || x === null ? "–" : Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en")
  : Number(x.toPrecision(4)).toString();

function ago(seconds) {
  const s = Math.max(0, Date.now() / 1000 - seconds);
  return s < 90 ? `${Math.round(s)} s ago` : s < 5400 ? `${Math.round(s / 60)} min ago`
    : s < 130000 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} days ago`;
}

/* ---- Reading ---- */

async function read_run(run, now) {
  if (now.bytes < run.at || (run.file && now.file !== run.file)) {      // begun anew, or resumed: lines were cut off
    run.at = 0;
    run.rows = [];
  }
  Object.assign(run, now);
  while (run.at < run.bytes) {
    const reply = await fetch(`/metrics?run=${encodeURIComponent(run.name)}&from=${run.at}`);
    const bytes = await reply.arrayBuffer();
    if (!reply.ok || !bytes.byteLength)
      return;
    run.at += bytes.byteLength;
    for (const line of new TextDecoder().decode(bytes).split("\n"))
      if (line)
        try {
          run.rows.push(JSON.parse(line));
        } catch {
          $("state").textContent = `${run.name}: a line of metrics.jsonl is no JSON`;
        }
  }
}

async function read_all() {
  const there = await (await fetch("/runs")).json();
  there.runs.sort((a, b) => b.changed - a.changed);
  for (const r of there.runs)
    if (!runs.has(r.name))
      runs.set(r.name, { name: r.name, at: 0, rows: [], colour: COLOURS[runs.size % COLOURS.length],
                         shown: first ? runs.size < SHOWN : true });
  first = false;
  const names = new Set(there.runs.map(r => r.name));
  for (const name of [...runs.keys()])
    if (!names.has(name))
      runs.delete(name);
  for (const r of there.runs)
    await read_run(runs.get(r.name), r);
  $("state").className = "ok";
  $("state").textContent = `${there.folder}: ${runs.size} run${runs.size === 1 ? "" : "s"}`;
}

/* ---- The table of runs ---- */

function last(run, key) {
  for (let i = run.rows.length - 1; i >= 0; i--)
    if (key in run.rows[i])
      return run.rows[i][key];
}

function draw_runs() {
  const body = $("runs").tBodies[0];
  body.replaceChildren(...[...runs.values()].sort((a, b) => b.changed - a.changed).map(run => {
    const box = el("input", { type: "checkbox", "aria-label": `draw ${run.name}`, onchange: e => {
      run.shown = e.target.checked;
      draw();
    } });
    box.checked = run.shown;
    const mark = el("span", {}, " ■ ");
    mark.style.color = run.colour;
    const name = run.samples
      ? el("button", { type: "button", onclick: () => { chosen = run.name; draw_samples(); } }, run.name) : run.name;
    return el("tr", {}, el("td", {}, box, mark, name), el("td", {}, short(last(run, "step"))),
      el("td", {}, short(last(run, "loss"))), el("td", {}, short(last(run, "tokens_per_s"))),
      el("td", {}, ago(run.changed)));
  }));
}

/* ---- Curves ---- */

// Curves of one name: of a run's own rows, and dashed of the held-out rows beside them.
function curves() {
  const of = new Map();
  for (const run of runs.values())
    if (run.shown)
      for (const row of run.rows)
        for (const [key, y] of Object.entries(row)) {
          if (typeof y !== "number" || NOT_DRAWN.has(key) || typeof row.step !== "number")
            continue;
          const held = key.startsWith("held_"), name = held ? key.slice(5) : key;
          if (!of.has(name))
            of.set(name, new Map());
          const set = held && row.set ? ` (set ${row.set})` : "", id = (held ? "held" + set + " " : "") + run.name;
          if (!of.get(name).has(id))
            of.get(name).set(id, { run, held, set, points: [] });
          of.get(name).get(id).points.push({ x: row.step, y });
        }
  return of;
}

// As many points as can be seen: each the mean of those that it stands for.
function thin(points) {
  const each = Math.ceil(points.length / POINTS), out = [];
  for (let i = 0; i < points.length; i += each) {
    const part = points.slice(i, i + each);
    out.push({ x: part[part.length - 1].x, y: part.reduce((s, p) => s + p.y, 0) / part.length });
  }
  return out;
}

function smoothed(points, weight) {
  let mean = 0, sum = 0;
  return points.map(p => {
    mean = weight * mean + (1 - weight) * p.y;
    sum = weight * sum + (1 - weight);
    return { x: p.x, y: mean / sum };
  });
}

// A learning rate of 0.00002 has no room beside its axis: 2e-5.
function tick_format(y) {
  const largest = Math.max(...y.domain().map(Math.abs));
  return largest && largest < .001 ? v => v ? Number(v.toPrecision(3)).toExponential() : "0" : y.tickFormat(5);
}

function draw_chart(name, list) {
  const width = 480, height = 240, margin = { top: 10, right: 14, bottom: 34, left: 58 };
  const all = list.flatMap(c => c.points), weight = Number($("smooth").value);
  const called = c => c.run.name + (c.held ? ", held out" + c.set : "");
  const words = list.map(c => `${called(c)}: ${short(c.points[c.points.length - 1].y)}`);
  const s = chart(width, height, `${name}. ${words.join("; ")}`);
  let [low, high] = d3.extent(all, p => p.y);
  if (low === high) {
    low -= Math.abs(low) / 10 || 1;
    high += Math.abs(high) / 10 || 1;
  }
  const steps = d3.extent(all, p => p.x);
  const x = d3.scale.linear().domain(steps[0] === steps[1] ? [steps[0] - 1, steps[1] + 1] : steps)
    .range([margin.left, width - margin.right]);
  const y = d3.scale.linear().domain([low, high]).nice().range([height - margin.bottom, margin.top]);
  const line = d3.svg.line().x(p => x(p.x)).y(p => y(p.y));
  s.append("g").attr({ class: "axis", transform: `translate(${margin.left} 0)` })
    .call(d3.svg.axis().scale(y).orient("left").ticks(5).tickFormat(tick_format(y)).outerTickSize(0));
  s.append("g").attr({ class: "axis", transform: `translate(0 ${height - margin.bottom})` })
    .call(d3.svg.axis().scale(x).orient("bottom").tickValues(x.ticks(6).filter(Number.isInteger))
      .tickFormat(v => v.toLocaleString("en")).outerTickSize(0));
  s.append("text").attr({ class: "soft small", x: width - margin.right, y: height - 2, "text-anchor": "end" })
    .text("step");
  for (const c of list) {
    const points = thin(c.points), stroke = { fill: "none", stroke: c.run.colour };
    if (points.length === 1)
      s.append("circle").attr({ cx: x(points[0].x), cy: y(points[0].y), r: 3, fill: c.run.colour });
    else if (c.held)
      s.append("path").attr({ ...stroke, d: line(points), "stroke-width": 2, "stroke-dasharray": "6 4" });
    else {
      s.append("path").attr({ ...stroke, d: line(points), opacity: .25 });
      s.append("path").attr({ ...stroke, d: line(smoothed(points, weight)), "stroke-width": 2 });
    }
  }
  return el("figure", {}, el("figcaption", {}, `${name}: ${words.join("; ")}`), s.node());
}

const FIRST = ["reward", "loss", "accuracy", "kl"];
const rank = name => { const i = FIRST.indexOf(name); return i < 0 ? FIRST.length : i; };

function draw_charts() {
  const wanted = $("filter").value.toLowerCase();
  const list = [...curves()].filter(([name]) => name.toLowerCase().includes(wanted))
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
  $("charts").replaceChildren(...list.map(([name, of]) => draw_chart(name, [...of.values()])));
  if (!list.length)
    $("charts").replaceChildren(el("p", { class: "note" }, runs.size ? "No curves: choose a run above, or another name."
      : "No run here yet: a folder with a metrics.jsonl is one, and appears when it is there."));
}

/* ---- Answers ---- */

const text_of = p => typeof p === "string" ? p : Array.isArray(p)
  ? p.map(m => `${m.role}: ${typeof m.content === "string" ? m.content : JSON.stringify(m.content)}`).join("\n")
  : JSON.stringify(p);

async function draw_samples() {
  const run = runs.get(chosen)
    || [...runs.values()].filter(r => r.samples && r.shown).sort((a, b) => b.changed - a.changed)[0];
  $("samples").hidden = !run;
  if (!run)
    return;
  const reply = await fetch(`/samples?run=${encodeURIComponent(run.name)}`);
  const rows = reply.ok ? (await reply.text()).split("\n").filter(l => l).slice(-8).map(l => JSON.parse(l)) : [];
  $("samples-of").textContent = run.name;
  $("answers").replaceChildren(...rows.reverse().map(r => {
    const facts = Object.entries(r).filter(([, v]) => typeof v === "number").map(([k, v]) => `${k} ${short(v)}`)
      .join(" · ");
    return el("div", { class: "card" }, el("p", { class: "hint" }, facts),
      ...["prompt", "completion"].filter(k => k in r).map(k => el("pre", {}, text_of(r[k]))));
  }));
}

/* ---- The page ---- */

function draw() {
  draw_runs();
  draw_charts();
}

async function turn() {
  try {
    const before = [...runs.values()].map(r => r.at).join();
    await read_all();
    draw_runs();
    if ([...runs.values()].map(r => r.at).join() !== before || !$("charts").children.length) {
      draw_charts();
      await draw_samples();
    }
  } catch (e) {
    $("state").className = "bad";
    $("state").textContent = `gram watch does not answer (${e.message})`;
  }
  setTimeout(turn, 2000);
}

$("smooth").addEventListener("input", draw_charts);
$("filter").addEventListener("input", draw_charts);
turn();
