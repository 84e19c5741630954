// pairs.js - a file of pairs: reading it, judging it in small requests, and what is shown and saved meanwhile.
"use strict";

/* ---- Reading ---- */

const is_text = t => typeof t === "string";
const kind_of = v => v === undefined || v === null ? "nothing" : Array.isArray(v) ? "a list" : typeof v;
const ROLES = ["system", "user", "assistant"];
// Columns that would change what is read; `gram eval` reads some of them, this page reads none.
const UNREAD = ["tools", "criteria", "documents", "system", "system_prompt", "history", "input", "conversation_input",
                "conversations", "messages", "images"];
const QUESTION = ["prompt", "question", "instruction", "context"];      // a row's goes by one of these names
const holds = v => v !== undefined && v !== null && v.length !== 0;

function wrong(text) {
  throw new Error(text);
}

// The turns of a list of messages.
function read_turns(key, list) {
  const plain = m => m && ROLES.includes(m.role) && is_text(m.content) && !m.tool_calls;
  if (!list.every(plain))
    wrong(`key "${key}" holds a turn that is not text of system, user or assistant`);
  return list.map(m => ({ role: m.role, content: m.content }));
}

const same_turns = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Conversations written into one text, as `gram eval` tells them: an HH transcript, which is read, and others, which as
// a user's message would be judged as something that nobody wrote.
const is_transcript = t => is_text(t) && /^[ \t\r\n]*Human:/.test(t)
  && (t.startsWith("\n\nHuman:") || t.includes("\n\nAssistant:"));
const MARKS = [["<|im_start|>", "<|im_start|>assistant"], ["<|start_header_id|>", "<|start_header_id|>assistant"],
               ["<start_of_turn>", "<start_of_turn>model"], ["[INST]", "[/INST]"], ["<|user|>", "<|assistant|>"],
               ["<|system|>", "<|assistant|>"], ["<|prompter|>", "<|assistant|>"],
               ["### Human:", "### Assistant:"], ["### Instruction:", "### Response:"],
               ["Human:", "\nAssistant:"], ["User:", "\nAssistant:"], ["USER:", "ASSISTANT:"],
               ["prompter:", "assistant:"]];

function check_text(key, text) {
  const bare = text.replace(/^[ \t\r\n]*(<\|begin_of_text\|>|<s>|<bos>)?[ \t\r\n]*/, "");
  if (MARKS.some(([first, partner]) => bare.startsWith(first) && bare.includes(partner))
      || (key === "prompt" ? /^<extra_id_[01]>/m : /^<extra_id_[01]>/).test(text)
      || /\n\nAssistant:[ \t\r\n]*$/.test(text))
    wrong(`key "${key}" is a conversation written into one text: wanted a list of messages`);
  if (/^[ \t\r\n]*[[{]/.test(text) && ["role", "content"].every(k => new RegExp(`["']${k}["']`).test(text)))
    wrong(`key "${key}" is a list of messages written into a text: wanted the list itself`);
}

// "\n\nHuman: ...\n\nAssistant: ..." as a list of messages.
function read_transcript(text) {
  const parts = ("\n\n" + text.trimStart()).split(/\n\n(Human|Assistant):/), turns = [];
  for (let i = 1; i + 1 < parts.length; i += 2)
    turns.push({ role: parts[i] === "Human" ? "user" : "assistant",
                 content: parts[i + 1].replace(/^[ \t\n\r]+|[ \t\n\r]+$/g, "") });
  return turns;
}

// A transcript that ends where the answer begins.
function read_question(text) {
  const turns = read_transcript(text), last = turns[turns.length - 1];
  if (last.role === "assistant" && !last.content)
    turns.pop();
  return turns[turns.length - 1].role === "user" ? turns : wrong("the prompt ends with an answer");
}

// Both sides as conversations that share all but their last turn: [turns, a, b].
function part_last(prompt, chosen, rejected) {
  const last = side => side.length && side[side.length - 1].role === "assistant" ? side.pop().content
    : wrong("an answer must end with a turn of the assistant");
  const a = last(chosen), b = last(rejected);
  if (!same_turns(chosen, rejected))
    wrong("chosen and rejected differ before their last turn");
  if (!chosen.length || prompt === undefined)
    return [chosen.length ? chosen : prompt, a, b];
  if (!same_turns(chosen, is_text(prompt) ? [{ role: "user", content: prompt }] : prompt))
    wrong("the turns before the answer are not the prompt's");
  return [chosen, a, b];
}

// The two answers where a number says which is better, as HelpSteer writes them.
function read_two(row) {
  const p = row.overall_preference;
  if (typeof p !== "number" || p === 0)
    wrong('"overall_preference" must say which response is better, and not be a tie');
  return p < 0 ? [row.response1, row.response2] : [row.response2, row.response1];
}

// {prompt, a, b} of a row; throws a sentence for what is not one of the forms read here.
function read_row(text) {
  let row;
  try {
    row = JSON.parse(text);
  } catch {
    wrong("this is not JSON");
  }
  if (kind_of(row) !== "object")
    wrong(`wanted an object, found ${kind_of(row)}`);
  const unread = UNREAD.find(k => holds(row[k])), asked = QUESTION.filter(k => holds(row[k]));
  if (unread)
    wrong(`key "${unread}" is not read here, and would change what the model reads`);
  if (row.tie === true || row.soft === .5)
    wrong("a tie has no better answer to find");
  const other = asked.find(k => !same_turns(row[k], row[asked[0]]));
  if (other)
    wrong(`keys "${asked[0]}" and "${other}" are both there, and one question alone is read here`);
  let prompt = row[asked[0] ?? QUESTION.find(k => is_text(row[k]))], { chosen, rejected } = row;
  if (Array.isArray(prompt))
    prompt = read_turns("prompt", prompt);
  else if (is_transcript(prompt))
    prompt = read_question(prompt);
  else if (is_text(prompt))
    check_text("prompt", prompt);
  if (chosen === undefined && row.response1 !== undefined)
    [chosen, rejected] = read_two(row);
  if (Array.isArray(chosen) && Array.isArray(rejected))
    [prompt, chosen, rejected] = part_last(prompt, read_turns("chosen", chosen), read_turns("rejected", rejected));
  else if (is_transcript(chosen) && is_transcript(rejected))
    [prompt, chosen, rejected] = part_last(prompt, read_transcript(chosen), read_transcript(rejected));
  else if (is_text(chosen) && is_text(rejected)) {
    check_text("chosen", chosen);
    check_text("rejected", rejected);
  }
  if (!is_text(chosen) || !is_text(rejected))
    wrong('wanted texts or lists of messages as "chosen" and "rejected", found ' +
          `${kind_of(chosen)} and ${kind_of(rejected)}`);
  if (prompt === undefined || prompt.length === 0 || !(is_text(prompt) || Array.isArray(prompt)))
    wrong('wanted a text or a list of messages as "prompt", found ' +
          (prompt === "" ? "an empty text" : kind_of(prompt)));
  if (chosen === rejected)
    wrong("both answers are the same text");
  return { prompt, a: chosen, b: rejected };
}

// [line number, text] of each line that is not blank.
async function read_lines(file) {
  let stream = file.stream(), bytes;
  if (file.name.endsWith(".gz"))
    stream = stream.pipeThrough(new DecompressionStream("gzip"));
  try {
    bytes = await new Response(stream).arrayBuffer();
  } catch {
    wrong(file.name.endsWith(".gz") ? "it is not gzip, or cut short" : "it cannot be read");
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    wrong("it is not UTF-8 text");
  }
  const lines = text.split("\n").map((t, i) => [i + 1, t]).filter(l => l[1].trim());
  return lines.length ? lines : wrong("it holds no rows");
}

/* ---- Judging ---- */

const BINS = 15, BATCH = 8, SHOWN = 200, SAID = 5;
let run = null;                             // the file being judged

function new_run(name, lines) {
  return { name, lines, at: 0, back: [], done: [], bad: [], saved: 0, right: 0, asked_twice: 0, flipped: 0,
           tokens: 0, seconds: 0, begun: 0, stop: null, course: [], one_order: false,
           bins: Array.from({ length: BINS }, () => ({ n: 0, right: 0, sure: 0 })) };
}

// A reward model reads each answer by itself, and --single-order one order: whether orders disagree is not asked then.
const both_orders = v => v.p_forward !== null && v.p_swapped !== null;

const left = r => r.lines.length - r.done.length - r.bad.length;
const seconds_of = r => r.seconds + (r.stop ? (performance.now() - r.begun) / 1000 : 0);

function count(r, line, pair, v) {
  const right = v.preference > .5 ? 1 : v.preference < .5 ? 0 : .5, sure = Math.max(v.preference, 1 - v.preference);
  const bin = r.bins[Math.min(BINS - 1, Math.floor((sure - .5) * 2 * BINS))];
  bin.n++;
  bin.right += right;
  bin.sure += sure;
  r.right += right;
  r.asked_twice += both_orders(v);
  r.flipped += both_orders(v) && v.flipped;
  r.tokens += v.tokens;
  r.done.push({ line, pair, v, right });
  r.course.push(r.right / r.done.length);
}

function set_aside(r, line, error) {
  r.bad.push({ line, error });
  const more = r.bad.length - SAID;
  say($("set-error"), r.bad.slice(0, SAID).map(b => `line ${b.line}: ${b.error}`).join("\n") +
                      (more > 0 ? `\nand ${more} more, which stand in the saved file` : ""));
}

// The next rows to ask about: those that a lost request gave back come first.
function next_rows(r) {
  const rows = r.back.splice(0, BATCH);
  while (rows.length < BATCH && r.at < r.lines.length) {
    const [line, text] = r.lines[r.at++];
    try {
      rows.push({ line, pair: read_row(text) });
    } catch (err) {
      set_aside(r, line, err.message);
    }
  }
  return rows;
}

// Whether the rejected answer of a pair is read first by a server that reads one order alone (--single-order), where
// the chosen one would always have the first seat: half of the pairs, by a digest of their texts.
function is_turned(pair) {
  let h = 0x811c9dc5;
  for (const c of JSON.stringify([pair.prompt, pair.a, pair.b]))
    h = Math.imul(h ^ c.codePointAt(0), 0x01000193);
  return (h >>> 16 & 1) === 1;
}

const turned = pair => ({ prompt: pair.prompt, a: pair.b, b: pair.a });

// The verdict of a turned pair, of the pair itself.
function turn_back(v) {
  return { ...v, preference: 1 - v.preference, p_forward: null, p_swapped: 1 - v.p_forward,
           logit_margin: -v.logit_margin, logits: [null, v.logits[0]],
           winner: { a: "b", b: "a", tie: "tie" }[v.winner] };
}

// A request that is refused as a whole is asked again row by row, so that only the row at fault is lost.
async function judge_rows(r, rows, signal, note) {
  const back = rows.map(x => r.one_order && is_turned(x.pair)), again = [];
  try {
    const answer = await call("/v1/score", { pairs: rows.map((x, i) => back[i] ? turned(x.pair) : x.pair) }, signal,
                              note);
    rows.forEach((x, i) => {
      const v = answer.data[i];
      if (!v || typeof v.preference !== "number")
        set_aside(r, x.line, v && v.error ? v.error.message || v.error : "the server gave no verdict");
      else if (v.p_swapped === null && !v.rewards && !back[i] && is_turned(x.pair))
        again.push(x);                      // that only one order is read shows in the first verdicts
      else
        count(r, x.line, x.pair, back[i] ? turn_back(v) : v);
    });
  } catch (err) {
    if (err.kind !== "refused") {
      r.back.push(...rows);
      throw err;
    }
    if (rows.length === 1)
      return set_aside(r, rows[0].line, err.message);
    for (let i = 0; i < rows.length; i++) {
      try {
        await judge_rows(r, [rows[i]], signal, note);
      } catch (stop) {
        r.back.push(...rows.slice(i + 1));
        throw stop;
      }
    }
  }
  if (again.length) {
    r.one_order = true;
    await judge_rows(r, again, signal, note);
  }
}

// Judges what is left of a file, two requests at a time to keep the server busy, until all is done, Stop is pressed or
// the server is lost; what is left then waits for Go on.
async function go_on(r) {
  const stop = r.stop = new AbortController(), note = text => say($("set-note"), text);
  const worker = async () => {
    for (let rows; (rows = next_rows(r)).length; draw(r))
      await judge_rows(r, rows, stop.signal, note);
  };
  const guarded = () => worker().catch(err => {
    stop.abort();                           // the other worker stops too
    return err;
  });
  r.begun = performance.now();
  say($("set-trouble"), "");
  draw(r);
  const errors = (await Promise.all([guarded(), guarded()])).filter(Boolean);
  r.seconds = seconds_of(r);
  r.stop = null;
  if (run !== r)
    return;
  const trouble = errors.find(err => err.name !== "AbortError");
  say($("set-note"), trouble || !left(r) ? "" : `Stopped with ${left(r)} rows left.`);
  if (trouble)
    say($("set-trouble"), `${trouble.message} ${r.done.length} of ${r.lines.length} rows are judged` +
        `${r.done.length ? " and can be saved" : ""}; Go on asks for the others.`);
  draw(r);
}

async function judge_file(file) {
  if (run && run.saved < run.done.length && !confirm("The verdicts so far are not saved. Judge the new file anyway?"))
    return;
  const lines = await read_lines(file);
  if (run && run.stop)
    run.stop.abort();
  run = new_run(file.name, lines);
  $("run").hidden = false;
  for (const id of ["set-error", "set-trouble", "set-note"])
    say($(id), "");
  $("rows").tBodies[0].replaceChildren();   // those of the file before have the same line numbers
  await go_on(run);
}

/* ---- Showing ---- */

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
  bar.append("text").attr({ class: "soft small", x: middle, y: b => y(b.p) - 4, "text-anchor": "middle" })
    .text(b => b.n);
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

function open_row(d) {
  fill_form(d.pair.prompt, [d.pair.a, d.pair.b]);
  choose_tab($("tab-hand"), true);
  judge();
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
    el("td", {}, !both_orders(d.v) ? "–" : d.v.flipped ? "disagree" : "agree"),
    el("td", {}, d.v.tokens + (d.v.truncated ? " (cut)" : ""))));
  tr.order();
}

function draw_charts(r) {
  draw_reliability(r);
  draw_course(r);
}

function draw(r) {
  if (run !== r)
    return;
  const n = r.done.length, seconds = seconds_of(r);
  $("progress").max = r.lines.length || 1;
  $("progress").value = n + r.bad.length;
  $("count").textContent = `${n} of ${r.lines.length}` + (r.bad.length ? `, ${r.bad.length} not judged` : "");
  $("stop").hidden = !r.stop;
  $("go-on").hidden = r.stop !== null || left(r) === 0;
  $("save").hidden = n === 0;
  if (n) {
    const accuracy = r.right / n, [low, high] = wilson(accuracy, n), twice = r.asked_twice;
    const ece = r.bins.reduce((sum, b) => sum + Math.abs(b.right - b.sure), 0) / n;
    number("accuracy", percent(accuracy), between(low, high));
    if (twice)
      number("flips", percent(r.flipped / twice), between(...wilson(r.flipped / twice, twice)));
    else
      number("flips", "–", "no second order is read");
    number("ece", percent(ece), `${BINS} bins`);
    number("speed", String(Math.round(r.tokens / seconds)), `${(n / seconds).toFixed(1)} pairs/s`);
  }
  draw_charts(r);
  draw_rows(r);
}

addEventListener("resize", () => run && draw_charts(run));
$("tab-set").addEventListener("click", () => run && draw_charts(run));     // hidden, it had no width
$("filter").addEventListener("change", () => run && draw_rows(run));
$("stop").addEventListener("click", () => run.stop && run.stop.abort());
$("go-on").addEventListener("click", () => run.stop || go_on(run));

// What was judged so far, in the order of the file; a row without a verdict says why.
$("save").addEventListener("click", () => {
  const rows = [...run.done.map(d => ({ line: d.line, ...d.v })), ...run.bad].sort((a, b) => a.line - b.line);
  const text = rows.map(o => JSON.stringify(o)).join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  el("a", { href: url, download: run.name.replace(/(\.jsonl?|\.ndjson)?(\.gz)?$/, "") + ".verdicts.jsonl" }).click();
  run.saved = run.done.length;
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});

function take_file(file) {
  if (file)
    judge_file(file).catch(err => say($("file-error"), `${file.name}: ${err.message}`));
}
$("file").addEventListener("change", e => {
  take_file(e.target.files[0]);
  e.target.value = "";                      // the same file may be chosen again
});
for (const type of ["dragover", "dragleave", "drop"])
  document.addEventListener(type, e => {    // a file dropped beside the frame must not replace the page
    e.preventDefault();
    $("drop").classList.toggle("over", type === "dragover");
    if (type === "drop") {
      choose_tab($("tab-set"));
      take_file(e.dataTransfer.files[0]);
    }
  });
