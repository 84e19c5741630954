// app.js - the page: what a person types becomes /v1/score and /v1/rank requests; a file of pairs becomes many.
// Plain DOM, and D3 for what is drawn. Text from outside only ever enters as text, never as markup.
"use strict";

const $ = id => document.getElementById(id);
const letter = i => String.fromCharCode(65 + i);
const percent = p => (100 * p).toFixed(1) + " %";
const whole_percent = p => Math.round(100 * p) + " %";
const fixed = (x, n = 2) => x === null || x === undefined ? "–" : x.toFixed(n).replace("-", "−");

/* ---- Small things ---- */

// el("p", {class: "x"}, "text", child, ...)
function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes))
    k.startsWith("on") ? e.addEventListener(k.slice(2), v) : e.setAttribute(k, v);
  e.append(...children);
  return e;
}

// A drawing that says in words what it shows; its letters are as large on a phone as on a desk.
function chart(width, height, label) {
  return d3.select(document.createElementNS(d3.ns.prefix.svg, "svg"))
    .attr({ viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function show_error(where, text) {
  where.textContent = text;
  where.hidden = !text;
}

/* ---- The server ---- */

async function call(path, body, signal) {
  const key = sessionStorage.getItem("key");
  const headers = { "Content-Type": "application/json" };
  if (key)
    headers.Authorization = "Bearer " + key;
  for (;;) {
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
    if (answer.status === 429 || answer.status === 503) {   // busy: the server says when to come back
      await new Promise(done => setTimeout(done, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
      if (signal && signal.aborted)
        throw new DOMException("stopped", "AbortError");
      continue;
    }
    const json = await answer.json();
    $("key-form").hidden = answer.status !== 401;
    if (answer.status === 401)
      $("key").focus();
    if (!answer.ok)
      throw new Error(json.error ? json.error.message : "the server answered " + answer.status);
    return json;
  }
}

async function show_state() {
  let wait = 10000;
  try {
    const answer = await fetch("/health"), json = await answer.json();
    $("state").textContent = answer.ok ? json.model : json.error.message + "…";
    $("state").className = answer.ok ? "ok" : "bad";
    wait = answer.ok ? 10000 : 1000;
  } catch {
    $("state").textContent = "the server does not answer";
    $("state").className = "bad";
  }
  setTimeout(show_state, wait);
}

$("key-form").addEventListener("submit", e => {
  e.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  $("key-form").hidden = true;
  $("go").click();
});

/* ---- Tabs ---- */

const tabs = [...document.querySelectorAll("[role=tab]")];
function choose_tab(tab, focus) {
  for (const t of tabs) {
    const on = t === tab;
    t.setAttribute("aria-selected", on);
    t.tabIndex = on ? 0 : -1;
    $(t.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus)
    tab.focus();
}
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => choose_tab(tab));
  tab.addEventListener("keydown", e => {
    if (e.key === "ArrowRight" || e.key === "ArrowLeft")
      choose_tab(tabs[(i + 1) % tabs.length], true);
  });
});

/* ---- Judging by hand: the form ---- */

const answers = () => [...document.querySelectorAll("#answers textarea")];

function name_answers() {
  const all = [...$("answers").children];
  all.forEach((box, i) => {
    box.querySelector("label").textContent = "Answer " + letter(i);
    box.querySelector("label").htmlFor = box.querySelector("textarea").id = "answer-" + i;
    const remove = box.querySelector("button");
    remove.hidden = all.length <= 2;
    remove.setAttribute("aria-label", "Remove answer " + letter(i));
  });
  $("method-label").hidden = all.length <= 2;
  $("add").disabled = all.length >= 16;
}

function add_answer(text = "") {
  const area = el("textarea", { rows: 5, required: "" });
  area.value = text;
  const box = el("div", {},
    el("div", { class: "answer-head" }, el("label"),
       el("button", { type: "button", onclick: () => { box.remove(); name_answers(); } }, "Remove")), area);
  $("answers").append(box);
  name_answers();
  return area;
}

function fill_form(prompt, texts) {
  $("prompt").value = prompt;
  $("answers").replaceChildren();
  texts.forEach(t => add_answer(t));
}

$("add").addEventListener("click", () => add_answer().focus());
$("example").addEventListener("click", () => fill_form("Why is the sky blue?", [
  "Sunlight is scattered by the molecules of the air, and short wavelengths are scattered far more than long ones " +
  "(Rayleigh scattering). So blue light reaches us from every direction of the sky.",
  "Because it reflects the color of the ocean."]));
$("judge").addEventListener("keydown", e => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey))
    $("judge").requestSubmit();
});
$("judge").addEventListener("submit", async e => {
  e.preventDefault();
  const texts = answers().map(a => a.value), prompt = $("prompt").value;
  $("go").disabled = true;
  $("go").textContent = "Judging…";
  show_error($("error"), "");
  try {
    if (texts.length === 2)
      show_verdict($("result"), await call("/v1/score", { prompt, a: texts[0], b: texts[1], explain: true }), "A", "B");
    else
      show_ranking(await call("/v1/rank", { prompt, responses: texts, method: $("method").value }), prompt, texts);
  } catch (err) {
    $("result").replaceChildren();
    show_error($("error"), err.message);
  }
  $("go").disabled = false;
  $("go").textContent = "Judge";
});

/* ---- Judging by hand: a verdict ---- */

// Pixels that a chart in a card of this box may take.
const room = box => Math.max(240, Math.min(680, box.clientWidth - 36));

// A bar from 0 to 1 for each order and for both, with the middle marked.
function preference_bars(where, v, a, b) {
  const rows = v.rewards ? [["preference", v.preference, 1]]
    : [["both orders", v.preference, 1], [a + " first", v.p_forward, .55], [b + " first", v.p_swapped, .55]]
      .filter(r => r[1] !== null);
  const width = room(where), high = 34, bottom = rows.length * high;
  const x = d3.scale.linear().range([90, width - 76]);
  const s = chart(width, bottom + 24, `Probability that ${a} beats ${b}: ${percent(v.preference)}`);
  const row = s.selectAll("g").data(rows).enter().append("g").attr("transform", (r, i) => `translate(0 ${i * high + 4})`);
  row.append("text").attr({ x: x(0) - 8, y: 18, "text-anchor": "end" }).text(r => r[0]);
  row.append("rect").attr({ class: "a", x: x(0), width: r => x(r[1]) - x(0), height: 24, opacity: r => r[2] });
  row.append("rect").attr({ class: "b", x: r => x(r[1]), width: r => x(1) - x(r[1]), height: 24, opacity: r => r[2] });
  row.append("text").attr({ x: x(1) + 8, y: 18 }).text(r => `${a} ${percent(r[1])}`);
  s.append("line").attr({ class: "mark", x1: x(.5), x2: x(.5), y1: 0, y2: bottom });
  const share = width < 300 ? "" : "’s share";
  s.append("text").attr({ class: "soft", x: x(0), y: bottom + 16 }).text(a + share);
  s.append("text").attr({ class: "soft", x: x(1), y: bottom + 16, "text-anchor": "end" }).text(b + share);
  return s.node();
}

// Of a model with a reward head, which reads each answer alone: no orders, no labels.
function reward_table(v, a, b) {
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Answer", "Reward", ...(v.sigma ? ["σ"] : [])].map(t => el("th", {}, t)))),
    el("tbody", {}, ...[a, b].map((name, i) => el("tr", {}, el("td", {}, name), el("td", {}, fixed(v.rewards[i])),
      ...(v.sigma ? [el("td", {}, fixed(v.sigma[i]))] : []))))));
}

function order_table(v, a, b) {
  const orders = [[a, b, v.p_forward, v.logits[0]], [b, a, v.p_swapped, v.logits[1]]].filter(o => o[3]);
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Read first", `P(${a} beats ${b})`, "Logit “A”", "Logit “B”", `Margin for ${a}`]
      .map(t => el("th", {}, t)))),
    el("tbody", {}, ...orders.map(([first, , p, z]) => el("tr", {},
      el("td", {}, first), el("td", {}, percent(p)), el("td", {}, fixed(z[0])), el("td", {}, fixed(z[1])),
      el("td", {}, fixed(first === a ? z[0] - z[1] : z[1] - z[0])))))));
}

// Where text was left out the model read a mark in its place, which is made to stand out.
function read_text(text, cut) {
  const parts = cut ? text.split(/(\[…\])/) : [text];
  return el("pre", { tabindex: 0 }, ...parts.map((t, i) => i % 2 ? el("mark", {}, t) : t));
}

function show_verdict(where, v, a, b) {
  const p = v.preference, winner = p > .5 ? a : b, sure = Math.max(p, 1 - p);
  const badges = el("div", { class: "row" },
    ...(v.p_swapped === null ? [] : [v.flipped ? el("span", { class: "badge warn" }, "the orders disagree")
                                               : el("span", { class: "badge" }, "both orders agree")]),
    el("span", { class: "badge" + (v.truncated ? " warn" : "") }, v.truncated ? "text was left out to fit" : "nothing left out"),
    el("span", { class: "badge" }, v.tokens + " tokens"),
    el("span", { class: "badge" }, "margin " + fixed(v.logit_margin)));
  const card = el("div", { class: "card" },
    el("p", { class: "verdict" }, p === .5 ? "A tie" : `${winner} is better, ${percent(sure)} sure`),
    preference_bars(where, v, a, b), badges, v.rewards ? reward_table(v, a, b) : order_table(v, a, b));
  (v.read || []).forEach((text, i) => card.append(el("details", {},
    el("summary", {}, `What the model read, ${i ? b : a}${v.rewards ? "" : " first"}`), read_text(text, v.truncated))));
  where.replaceChildren(card);
}

/* ---- Judging by hand: a ranking ---- */

function rank_chart(r) {
  const n = r.results.length, width = room($("result")), high = 32, scores = r.results.map(q => q.score);
  const x = d3.scale.linear().domain(d3.extent([0, ...scores])).range([50, width - 70]);
  const digits = d3.max(scores) - d3.min(scores) < .1 ? 4 : 2, name = (q, i) => `${i + 1}. ${letter(q.index)}`;
  const s = chart(width, n * high + 4, "Ranking: " + r.results.map(q => `${letter(q.index)} ${fixed(q.score, digits)}`).join(", "));
  const row = s.selectAll("g").data(r.results).enter().append("g").attr("transform", (q, i) => `translate(0 ${i * high + 4})`);
  row.append("text").attr({ x: 42, y: 17, "text-anchor": "end" }).text(name);
  row.append("rect").attr({ class: q => q.score < 0 ? "b" : "a", x: q => Math.min(x(0), x(q.score)), height: 24, rx: 4,
                            width: q => Math.max(2, Math.abs(x(q.score) - x(0))) });
  row.append("text").attr({ x: width - 62, y: 17 }).text(q => fixed(q.score, digits));
  s.append("line").attr({ class: "mark", x1: x(0), x2: x(0), y1: 0, y2: n * high });
  return s.node();
}

// Of a model with a reward head, best first.
function rewards_table(r) {
  const row = q => [letter(q.index), fixed(r.rewards[q.index]),
                    ...(r.sigma ? [fixed(r.sigma[q.index]), fixed(r.overlap[q.index]), fixed(q.score)] : [])];
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Answer", "Reward", ...(r.sigma ? ["σ", "Overlap", "Less λ × overlap"] : [])]
      .map(t => el("th", {}, t)))),
    el("tbody", {}, ...r.results.map(q => el("tr", {}, ...row(q).map(t => el("td", {}, t)))))));
}

function matrix_table(r) {
  const n = r.preference.length, names = [...Array(n).keys()].map(letter);
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", {}, "P(row beats column)"), ...names.map(t => el("th", {}, t)))),
    el("tbody", {}, ...r.preference.map((row, i) => el("tr", {}, el("td", {}, names[i]),
      ...row.map((p, j) => el("td", {}, i === j ? "" : p === null ? "–" : percent(p))))))));
}

function show_ranking(r, prompt, texts) {
  const detail = el("div"), flips = r.comparisons.filter(c => c.flipped).length;
  const pairs = r.rewards ? d3.merge(r.preference.map((row, i) => row.map((p, j) => ({ i, j, preference: p })).slice(i + 1)))
                          : r.comparisons;
  const open = async c => {
    detail.replaceChildren(el("p", {}, "…"));
    try {
      show_verdict(detail, await call("/v1/score", { prompt, a: texts[c.i], b: texts[c.j], explain: true }),
                   letter(c.i), letter(c.j));
      detail.scrollIntoView({ block: "nearest" });
    } catch (err) {
      detail.replaceChildren(el("p", { class: "error" }, err.message));
    }
  };
  $("result").replaceChildren(el("div", { class: "card" },
    el("p", { class: "verdict" }, `${letter(r.results[0].index)} is best of ${texts.length}`),
    rank_chart(r),
    el("p", {}, el("small", {}, r.rewards ? r.sigma ? "Reward less λ × overlap." : "Reward."
      : r.method === "all-pairs" ? "Bradley–Terry strength, mean 0." : "Comparisons won of those made.")),
    el("div", { class: "row" },
      ...(r.rewards ? [] : [
        el("span", { class: "badge" + (flips ? " warn" : "") }, `${flips} of ${r.comparison_count} comparisons flip with the order`),
        el("span", { class: "badge" + (r.intransitive ? " warn" : "") }, r.intransitive ? "preferences run in a circle" : "no circle in the preferences")]),
      el("span", { class: "badge" + (r.truncated ? " warn" : "") }, r.truncated ? "text was left out to fit" : "nothing left out"),
      el("span", { class: "badge" }, `${r.tokens} tokens in ${r.passes} passes`)),
    ...(r.rewards ? [el("h2", {}, "Rewards"), rewards_table(r)] : []),
    el("h2", {}, "Preferences"), matrix_table(r),
    el("h2", {}, r.rewards ? "Pairs" : "Comparisons"), el("div", { class: "row" },
      ...pairs.map(c => el("button", { type: "button", onclick: () => open(c) },
        `${letter(c.i)} – ${letter(c.j)}: ${percent(c.preference)}${c.flipped ? " ↺" : ""}`))), detail));
}

/* ---- A file of pairs: reading ---- */

const last_turn = m => m[m.length - 1].content;

// {prompt, a, b} of a row in one of the forms found in the wild; throws a sentence.
function read_row(text) {
  const row = JSON.parse(text);
  let { prompt, chosen, rejected } = row;
  if (prompt === undefined && typeof row.instruction === "string")
    prompt = row.instruction;
  if (chosen === undefined && row.response1 !== undefined) {
    const first = Number(row.overall_preference) <= 0;
    chosen = first ? row.response1 : row.response2;
    rejected = first ? row.response2 : row.response1;
    prompt = prompt === undefined ? row.context : prompt;
  }
  if (chosen === undefined || rejected === undefined)
    throw new Error("no chosen and rejected");
  if (Array.isArray(chosen) && Array.isArray(rejected)) {
    if (prompt === undefined || chosen.length > 1)
      prompt = chosen.slice(0, -1);
    chosen = last_turn(chosen);
    rejected = last_turn(rejected);
  } else if (prompt === undefined && chosen.includes("\n\nAssistant:")) {     // HH transcripts
    const turns = chosen.split(/\n\n(Human|Assistant):/), messages = [];
    for (let i = 1; i + 1 < turns.length; i += 2)
      messages.push({ role: turns[i] === "Human" ? "user" : "assistant", content: turns[i + 1].trim() });
    prompt = messages.slice(0, -1);
    chosen = messages[messages.length - 1].content;
    rejected = rejected.slice(rejected.lastIndexOf("\n\nAssistant:") + 12).trim();
  }
  if (prompt === undefined || prompt.length === 0)
    throw new Error("no prompt");
  return { prompt, a: chosen, b: rejected };
}

async function read_lines(file) {
  let stream = file.stream();
  if (file.name.endsWith(".gz"))
    stream = stream.pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  return text.split("\n").map((t, i) => [i + 1, t]).filter(l => l[1].trim());
}

/* ---- A file of pairs: judging ---- */

const BINS = 10, BATCH = 8, SHOWN = 200;
let run = null;                             // the file being judged

function new_run(lines) {
  return { lines, done: [], bad: 0, right: 0, flipped: 0, tokens: 0, begun: performance.now(), stop: new AbortController(),
           course: [], bins: Array.from({ length: BINS }, () => ({ n: 0, right: 0, sure: 0 })) };
}

function count(r, line, pair, v) {
  const right = v.preference > .5 ? 1 : v.preference < .5 ? 0 : .5, sure = Math.max(v.preference, 1 - v.preference);
  const bin = r.bins[Math.min(BINS - 1, Math.floor((sure - .5) * 2 * BINS))];
  bin.n++;
  bin.right += right;
  bin.sure += sure;
  r.right += right;
  r.flipped += v.flipped;
  r.tokens += v.tokens;
  r.done.push({ line, pair, v, right });
  r.course.push(r.right / r.done.length);
}

// A request failed as a whole, so its rows go one by one: only the row at fault is lost.
async function judge_rows(r, rows) {
  try {
    const answer = await call("/v1/score", { pairs: rows.map(x => x.pair) }, r.stop.signal);
    rows.forEach((x, i) => count(r, x.line, x.pair, answer.data[i]));
  } catch (err) {
    if (err.name === "AbortError" || err instanceof TypeError)
      throw err;
    if (rows.length > 1)
      for (const x of rows)
        await judge_rows(r, [x]);
    else {
      r.bad++;
      show_error($("set-error"), `line ${rows[0].line}: ${err.message}`);
    }
  }
}

async function judge_file(file) {
  if (run)
    run.stop.abort();
  show_error($("set-error"), "");
  const r = run = new_run(await read_lines(file));
  $("run").hidden = false;
  $("save").hidden = true;
  $("stop").hidden = false;
  $("rows").tBodies[0].replaceChildren();   // those of the file before have the same line numbers
  draw(r);
  const next = { at: 0 };
  const worker = async () => {              // two requests in flight keep the server busy
    while (next.at < r.lines.length && run === r && !r.stop.signal.aborted) {
      const rows = [];
      while (rows.length < BATCH && next.at < r.lines.length) {
        const [line, text] = r.lines[next.at++];
        try {
          rows.push({ line, pair: read_row(text) });
        } catch (err) {
          r.bad++;
          show_error($("set-error"), `line ${line}: ${err.message}`);
        }
      }
      if (rows.length)
        await judge_rows(r, rows);
      if (run === r)
        draw(r);
    }
  };
  try {
    await Promise.all([worker(), worker()]);
  } catch (err) {
    if (err.name !== "AbortError")
      show_error($("set-error"), err.message);
  }
  if (run === r) {
    $("stop").hidden = true;
    $("save").hidden = r.done.length === 0;
    draw(r);
  }
}

/* ---- A file of pairs: showing ---- */

function wilson(p, n) {
  const z = 1.96, d = 1 + z * z / n, m = p + z * z / (2 * n), h = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return [Math.max(0, (m - h) / d), Math.min(1, (m + h) / d)];
}

const between = (low, high) => `95 %: ${(100 * low).toFixed(1)} to ${percent(high)}`;

function number(id, text, more) {
  $(id).replaceChildren(text, el("small", {}, more));
}

// Axes in a figure: y from 0 to 1, and x as it is scaled; the chart, whose size is the figure's.
const MARGIN = { top: 18, right: 22, bottom: 44, left: 52 };

function plot(id, label, x, y, title, ticks) {
  const width = Math.max(280, $(id).clientWidth), height = 280, s = chart(width, height, label);
  const axis = (scale, orient) => d3.svg.axis().scale(scale).orient(orient).outerTickSize(0).tickPadding(6);
  x.range([MARGIN.left, width - MARGIN.right]);
  y.range([height - MARGIN.bottom, MARGIN.top]);
  s.append("g").attr({ class: "axis grid", transform: `translate(${MARGIN.left} 0)` })
    .call(axis(y, "left").ticks(5).tickFormat(whole_percent).innerTickSize(MARGIN.left + MARGIN.right - width));
  ticks(s.append("g").attr({ class: "axis", transform: `translate(0 ${y(0)})` }), axis(x, "bottom").innerTickSize(4));
  s.append("text").attr({ class: "soft", x: d3.mean(x.range()), y: height - 6, "text-anchor": "middle" }).text(title);
  $(id).replaceChildren(s.node());
  return s;
}

function draw_reliability(r) {
  const x = d3.scale.linear().domain([.5, 1]), y = d3.scale.linear(), most = Math.max(1, d3.max(r.bins, b => b.n));
  const bins = r.bins.map((b, i) => ({ ...b, low: .5 + i / (2 * BINS), p: b.right / b.n })).filter(b => b.n);
  const s = plot("reliability", "Reliability diagram: " + bins.map(b =>
    `${percent(b.sure / b.n)} sure, ${percent(b.p)} right, ${b.n} rows`).join("; "), x, y,
    "how sure the judge is", (g, axis) => g.call(axis.ticks(6).tickFormat(whole_percent)));
  const bar = s.selectAll("g.bin").data(bins).enter().append("g").attr("class", "bin");
  const width = x(.5 + .5 / BINS) - x(.5), middle = b => x(b.low) + width / 2;
  bar.append("rect").attr({ class: "a", x: b => x(b.low) + 2, width: width - 4, y: b => Math.min(y(b.p), y(0) - 1),
                            height: b => Math.max(1, y(0) - y(b.p)), opacity: b => .35 + .65 * b.n / most });
  bar.append("text").attr({ class: "soft small", x: middle, y: b => y(b.p) - 4, "text-anchor": "middle" }).text(b => b.n);
  s.append("line").attr({ class: "ideal", x1: x(.5), y1: y(.5), x2: x(1), y2: y(1) });
}

function draw_course(r) {
  const n = r.course.length, x = d3.scale.linear().domain([1, Math.max(2, n)]), y = d3.scale.linear();
  const s = plot("course", n ? `Accuracy after ${n} rows: ${percent(r.course[n - 1])}` : "No rows yet", x, y,
    "rows judged", (g, axis) => g.call(axis.ticks(5, "d")));
  const step = Math.max(1, Math.floor(n / 400)), points = d3.range(n).filter(i => i % step === 0 || i === n - 1);
  const at = i => x(i + 1), bound = k => i => y(wilson(r.course[i], i + 1)[k]);
  s.append("path").attr({ class: "band", d: d3.svg.area().x(at).y0(bound(0)).y1(bound(1))(points) });
  s.append("line").attr({ class: "ideal", x1: x.range()[0], x2: x.range()[1], y1: y(.5), y2: y(.5) });
  s.append("path").attr({ class: "line", d: d3.svg.line().x(at).y(i => y(r.course[i]))(points) });
}

function prompt_text(p) {
  return typeof p === "string" ? p : p.map(m => `${m.role}: ${m.content}`).join("\n");
}

function open_row(d) {
  if (typeof d.pair.prompt === "string") {
    fill_form(d.pair.prompt, [d.pair.a, d.pair.b]);
    choose_tab($("tab-hand"), true);
    $("judge").requestSubmit();
  } else {                                  // the form holds one turn; a conversation is judged as it is
    fill_form(prompt_text(d.pair.prompt), [d.pair.a, d.pair.b]);
    choose_tab($("tab-hand"), true);
    call("/v1/score", { ...d.pair, explain: true }).then(v => show_verdict($("result"), v, "A", "B"),
                                                         err => show_error($("error"), err.message));
  }
}

// Rows that stay keep their element, and with it the keyboard's focus.
function draw_rows(r) {
  const keep = { all: () => true, wrong: d => d.right < .5, flipped: d => d.v.flipped }[$("filter").value];
  const rows = r.done.filter(keep).slice(-SHOWN).sort((a, b) => b.line - a.line);
  const tr = d3.select($("rows").tBodies[0]).selectAll("tr").data(rows, d => d.line);
  tr.exit().remove();
  tr.enter().append(d => el("tr", {
      class: "pick" + (d.right < .5 ? " wrong" : ""), tabindex: 0, onclick: () => open_row(d),
      onkeydown: e => { if (e.key === "Enter") open_row(d); } },
    el("td", {}, String(d.line)), el("td", { class: "text" }, prompt_text(d.pair.prompt).slice(0, 200)),
    el("td", {}, percent(d.v.preference)), el("td", { class: "wide" }, fixed(d.v.logit_margin)),
    el("td", {}, d.v.p_swapped === null ? "–" : d.v.flipped ? "disagree" : "agree"),
    el("td", {}, d.v.tokens + (d.v.truncated ? " (cut)" : ""))));
  tr.order();
}

function draw_charts(r) {
  draw_reliability(r);
  draw_course(r);
}

function draw(r) {
  const n = r.done.length, seconds = (performance.now() - r.begun) / 1000;
  $("progress").max = r.lines.length || 1;
  $("progress").value = n + r.bad;
  $("count").textContent = `${n} of ${r.lines.length}` + (r.bad ? `, ${r.bad} not judged` : "");
  if (n) {
    const accuracy = r.right / n, [low, high] = wilson(accuracy, n), [flow, fhigh] = wilson(r.flipped / n, n);
    const ece = r.bins.reduce((sum, b) => sum + Math.abs(b.right - b.sure), 0) / n;
    number("accuracy", percent(accuracy), between(low, high));
    number("flips", percent(r.flipped / n), between(flow, fhigh));
    number("ece", percent(ece), "10 bins");
    number("speed", String(Math.round(r.tokens / seconds)), `${(n / seconds).toFixed(1)} pairs/s`);
  }
  draw_charts(r);
  draw_rows(r);
}

addEventListener("resize", () => run && draw_charts(run));
$("tab-set").addEventListener("click", () => run && draw_charts(run));     // hidden, it had no width
$("filter").addEventListener("change", () => run && draw_rows(run));
$("stop").addEventListener("click", () => run && run.stop.abort());
$("save").addEventListener("click", () => {
  const text = run.done.map(d => JSON.stringify({ line: d.line, ...d.v })).join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  el("a", { href: url, download: "verdicts.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});

function take_file(file) {
  if (file)
    judge_file(file).catch(err => show_error($("set-error"), `${file.name}: ${err.message}`));
}
$("file").addEventListener("change", e => take_file(e.target.files[0]));
for (const type of ["dragover", "dragleave", "drop"])
  document.addEventListener(type, e => {    // a file dropped beside the frame must not replace the page
    e.preventDefault();
    $("drop").classList.toggle("over", type === "dragover");
    if (type === "drop") {
      choose_tab($("tab-set"));
      take_file(e.dataTransfer.files[0]);
    }
  });

add_answer();
add_answer();
show_state();
