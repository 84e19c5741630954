// app.js - the page: what a person types becomes /v1/score and /v1/rank requests; a file of pairs becomes many.
// Plain DOM, no library. Text from outside only ever enters as text, never as markup.
"use strict";

const $ = id => document.getElementById(id);
const letter = i => String.fromCharCode(65 + i);
const percent = p => (100 * p).toFixed(1) + " %";
const fixed = (x, n = 2) => x === null || x === undefined ? "–" : x.toFixed(n);

/* ---- Small things ---- */

// el("p", {class: "x"}, "text", child, ...)
function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes))
    k.startsWith("on") ? e.addEventListener(k.slice(2), v) : e.setAttribute(k, v);
  e.append(...children);
  return e;
}

function svg(name, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(attributes))
    e.setAttribute(k, v);
  e.append(...children);
  return e;
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

// Pixels that a chart may take, so that its letters are as large on a phone as on a desk.
const room = () => Math.max(280, Math.min(680, $("result").clientWidth - 36));

// A bar from 0 to 1 for each order and for both, with the middle marked.
function preference_bars(v, a, b) {
  const rows = v.rewards ? [["preference", v.preference, 1]]
    : [["both orders", v.preference, 1], [a + " first", v.p_forward, .55], [b + " first", v.p_swapped, .55]]
      .filter(r => r[1] !== null);
  const width = room(), left = 90, right = 62, high = 34, inner = width - left - right;
  const s = svg("svg", { viewBox: `0 0 ${width} ${rows.length * high + 24}`, role: "img", class: "chart",
                         "aria-label": `Probability that ${a} beats ${b}: ${percent(v.preference)}` });
  rows.forEach(([name, p, strength], i) => {
    const y = i * high + 4;
    s.append(svg("text", { x: left - 8, y: y + 18, "text-anchor": "end" }, name),
             svg("rect", { class: "a", x: left, y, width: inner * p, height: 24, opacity: strength }),
             svg("rect", { class: "b", x: left + inner * p, y, width: inner * (1 - p), height: 24, opacity: strength }),
             svg("text", { x: width - right + 8, y: y + 18 }, percent(p)));
  });
  const bottom = rows.length * high;
  s.append(svg("line", { class: "mark", x1: left + inner / 2, x2: left + inner / 2, y1: 0, y2: bottom }),
           svg("text", { class: "soft", x: left, y: bottom + 16 }, `${a}’s share`),
           svg("text", { class: "soft", x: left + inner, y: bottom + 16, "text-anchor": "end" }, `${b}’s share`));
  return s;
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
    preference_bars(v, a, b), badges, v.rewards ? reward_table(v, a, b) : order_table(v, a, b));
  (v.read || []).forEach((text, i) => card.append(el("details", {},
    el("summary", {}, `What the model read, ${i ? b : a}${v.rewards ? "" : " first"}`), el("pre", { tabindex: 0 }, text))));
  where.replaceChildren(card);
}

/* ---- Judging by hand: a ranking ---- */

function rank_chart(r) {
  const n = r.results.length, width = room(), left = 50, right = 60, high = 32, inner = width - left - right;
  const scores = r.results.map(x => x.score), low = Math.min(0, ...scores), span = Math.max(...scores) - low || 1;
  const x = s => left + inner * (s - low) / span, digits = span < .1 ? 4 : 2;
  const s = svg("svg", { viewBox: `0 0 ${width} ${n * high + 4}`, role: "img", class: "chart", "aria-label": "Ranking: " +
                         r.results.map(q => `${letter(q.index)} ${fixed(q.score, digits)}`).join(", ") });
  r.results.forEach((q, i) => s.append(
    svg("text", { x: left - 8, y: i * high + 21, "text-anchor": "end" }, `${i + 1}. ${letter(q.index)}`),
    svg("rect", { class: q.score < 0 ? "b" : "a", x: Math.min(x(0), x(q.score)), y: i * high + 4, height: 24, rx: 4,
                  width: Math.max(2, Math.abs(x(q.score) - x(0))) }),
    svg("text", { x: left + inner + 8, y: i * high + 21 }, fixed(q.score, digits))));
  s.append(svg("line", { class: "mark", x1: x(0), x2: x(0), y1: 0, y2: n * high }));
  return s;
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
    el("p", {}, el("small", {}, r.method === "all-pairs" ? "Bradley–Terry strength, mean 0." : "Comparisons won of those made.")),
    el("div", { class: "row" },
      el("span", { class: "badge" + (flips ? " warn" : "") }, `${flips} of ${r.comparison_count} comparisons flip with the order`),
      el("span", { class: "badge" + (r.intransitive ? " warn" : "") }, r.intransitive ? "preferences run in a circle" : "no circle in the preferences"),
      el("span", { class: "badge" + (r.truncated ? " warn" : "") }, r.truncated ? "text was left out to fit" : "nothing left out"),
      el("span", { class: "badge" }, `${r.tokens} tokens in ${r.passes} passes`)),
    el("h2", {}, "Preferences"), matrix_table(r),
    el("h2", {}, "Comparisons"), el("div", { class: "row" },
      ...r.comparisons.map(c => el("button", { type: "button", onclick: () => open(c) },
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

function number(id, text, more) {
  $(id).replaceChildren(text, el("small", {}, more));
}

function frame(width, high, left, bottom) {
  const s = svg("svg", { viewBox: `0 0 ${width} ${high}`, role: "img" });
  s.append(svg("path", { class: "axis", d: `M${left} 6V${high - bottom}H${width - 8}` }));
  return s;
}

function draw_reliability(r) {
  const w = 420, h = 280, left = 52, bottom = 40, iw = w - left - 8, ih = h - bottom - 6;
  const x = p => left + iw * (p - .5) * 2, y = p => 6 + ih * (1 - p), s = frame(w, h, left, bottom);
  const most = Math.max(1, ...r.bins.map(b => b.n));
  s.setAttribute("aria-label", "Reliability diagram: " + r.bins.filter(b => b.n).map(b =>
    `${percent(b.sure / b.n)} sure, ${percent(b.right / b.n)} right, ${b.n} rows`).join("; "));
  for (const p of [0, .25, .5, .75, 1])
    s.append(svg("text", { class: "soft", x: left - 6, y: y(p) + 4, "text-anchor": "end" }, 100 * p + " %"));
  for (const p of [.5, .6, .7, .8, .9, 1])
    s.append(svg("text", { class: "soft", x: x(p), y: h - bottom + 18, "text-anchor": p === 1 ? "end" : "middle" }, Math.round(100 * p) + " %"));
  s.append(svg("text", { class: "soft", x: left + iw / 2, y: h - 4, "text-anchor": "middle" }, "how sure the judge is"));
  r.bins.forEach((b, i) => {
    if (!b.n)
      return;
    const low = .5 + i / (2 * BINS), p = b.right / b.n;
    const bar = svg("rect", { class: "a", x: x(low) + 2, width: iw / BINS - 4, y: y(p), height: Math.max(1, y(0) - y(p)), opacity: .35 + .65 * b.n / most });
    bar.append(svg("title", {}, `${b.n} rows, ${percent(p)} right`));
    s.append(bar);
  });
  s.append(svg("line", { class: "ideal", x1: x(.5), y1: y(.5), x2: x(1), y2: y(1) }));
  $("reliability").replaceChildren(s);
}

function draw_course(r) {
  const w = 420, h = 280, left = 52, bottom = 40, iw = w - left - 8, ih = h - bottom - 6, n = r.course.length;
  const x = i => left + iw * (n > 1 ? i / (n - 1) : 0), y = p => 6 + ih * (1 - p), s = frame(w, h, left, bottom);
  s.setAttribute("aria-label", n ? `Accuracy after ${n} rows: ${percent(r.course[n - 1])}` : "No rows yet");
  for (const p of [0, .25, .5, .75, 1])
    s.append(svg("text", { class: "soft", x: left - 6, y: y(p) + 4, "text-anchor": "end" }, 100 * p + " %"));
  s.append(svg("text", { class: "soft", x: left + iw / 2, y: h - 4, "text-anchor": "middle" }, `${n} rows`),
           svg("line", { class: "ideal", x1: left, x2: w - 8, y1: y(.5), y2: y(.5) }));
  const step = Math.max(1, Math.floor(n / 400));
  const points = [...Array(n).keys()].filter(i => i % step === 0 || i === n - 1);
  if (n) {
    const band = points.map(i => [i, wilson(r.course[i], i + 1)]);
    s.append(svg("path", { class: "band", d: "M" + band.map(([i, b]) => `${x(i)} ${y(b[1])}`).join("L") + "L" +
                           band.reverse().map(([i, b]) => `${x(i)} ${y(b[0])}`).join("L") + "Z" }),
             svg("path", { class: "line", d: "M" + points.map(i => `${x(i)} ${y(r.course[i])}`).join("L") }));
  }
  $("course").replaceChildren(s);
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

function draw_rows(r) {
  const keep = { all: () => true, wrong: d => d.right < .5, flipped: d => d.v.flipped }[$("filter").value];
  const rows = r.done.filter(keep).slice(-SHOWN).reverse();
  $("rows").tBodies[0].replaceChildren(...rows.map(d => el("tr", {
      class: "pick" + (d.right < .5 ? " wrong" : ""), tabindex: 0, onclick: () => open_row(d),
      onkeydown: e => { if (e.key === "Enter") open_row(d); } },
    el("td", {}, String(d.line)), el("td", { class: "text" }, prompt_text(d.pair.prompt).slice(0, 200)),
    el("td", {}, percent(d.v.preference)), el("td", {}, fixed(d.v.logit_margin)),
    el("td", {}, d.v.p_swapped === null ? "–" : d.v.flipped ? "disagree" : "agree"), el("td", {}, d.v.tokens + (d.v.truncated ? " (cut)" : "")))));
}

function draw(r) {
  const n = r.done.length, seconds = (performance.now() - r.begun) / 1000;
  $("progress").max = r.lines.length || 1;
  $("progress").value = n + r.bad;
  $("count").textContent = `${n} of ${r.lines.length}` + (r.bad ? `, ${r.bad} not judged` : "");
  if (n) {
    const accuracy = r.right / n, [low, high] = wilson(accuracy, n), [flow, fhigh] = wilson(r.flipped / n, n);
    const ece = r.bins.reduce((sum, b) => sum + Math.abs(b.right - b.sure), 0) / n;
    number("accuracy", percent(accuracy), `95 %: ${percent(low)} to ${percent(high)}`);
    number("flips", percent(r.flipped / n), `95 %: ${percent(flow)} to ${percent(fhigh)}`);
    number("ece", percent(ece), "10 bins");
    number("speed", String(Math.round(r.tokens / seconds)), `${(n / seconds).toFixed(1)} pairs/s`);
  }
  draw_reliability(r);
  draw_course(r);
  draw_rows(r);
}

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
