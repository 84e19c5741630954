// app.js - the page: what a person types becomes a /v1/score or /v1/rank request. verdict.js shows the answers,
// pairs.js judges a file. Plain DOM, and D3 for what is drawn. Text from outside only ever enters as text, never as
// markup.
"use strict";

const letter = i => String.fromCharCode(65 + i);
const percent = p => (100 * p).toFixed(1) + " %";
const whole_percent = p => Math.round(100 * p) + " %";
const fixed = (x, n = 2) => x === null || x === undefined ? "–"
  : x.toFixed(n).replace(/^-0[.0]*$/, m => m.slice(1)).replace("-", "−");

/* ---- Small things ---- */

// Scrolls no further than it must: what is higher than the window shows its beginning.
function into_view(e) {
  const box = e.getBoundingClientRect();
  if (box.top < 0 || box.bottom > innerHeight)
    e.scrollIntoView({ block: box.height > innerHeight ? "start" : "nearest" });
}

// A sentence in its place; "" takes it away. An error comes into view; a note and a growing list stay where they are.
function say(where, text) {
  if (where.textContent === text && where.hidden === !text)
    return;                                 // the same words are not read aloud twice
  where.textContent = text;
  where.hidden = !text;
  if (text && where.matches(".error:not(.list)"))
    into_view(where);
}

/* ---- The server ---- */

// Why there is no answer: "lost" (nothing answers there), "key" (none or a wrong one), "refused" (the server says why).
class Trouble extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

const stopped = () => new DOMException("stopped", "AbortError");

function sleep(seconds, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); fail(stopped()); });
  });
}

function lost(answer) {
  set_state("bad", "the server does not answer");
  return new Trouble("lost", answer
    ? `What answers at ${location.host} is not gram: it gave HTTP status ${answer.status} and no JSON.`
    : `The server at ${location.host} no longer answers. It has stopped, or the network is down.`);
}

// The JSON text at the end of an answer that comes as events; take() gets each of those before it.
async function read_events(answer, take) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", last = ""; ; ) {
    const { value, done } = await reader.read();
    if (done)
      throw new Trouble("refused", "The server broke off in the middle of its answer.");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const data of events.map(e => e.replace(/^data: /, ""))) {
      if (data === "[DONE]")
        return last;
      if (last)
        take(JSON.parse(last));
      last = data;
    }
  }
}

// The status and the JSON of one request.
async function post(path, body, key, signal, take) {
  const headers = { "Content-Type": "application/json" };
  let answer, text;
  if (key)
    headers.Authorization = "Bearer " + key;
  try {
    answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
    const events = answer.headers.get("Content-Type") === "text/event-stream";
    text = await (events ? read_events(answer, take) : answer.text());
  } catch (err) {
    throw signal.aborted ? stopped() : err instanceof Trouble ? err : lost(null);
  }
  try {
    return [answer, JSON.parse(text)];
  } catch {
    throw lost(answer);
  }
}

// The answer to a request; waits for a busy server until signal says stop, and tells note() that it does. Of an answer
// that comes in parts take() gets each.
async function call(path, body, signal, note, take) {
  for (;;) {
    const key = sessionStorage.getItem("key"), [answer, json] = await post(path, body, key, signal, take);
    const message = json.error ? json.error.message : "HTTP status " + answer.status;
    if (signal.aborted)
      throw stopped();
    if (answer.ok) {
      note("");
      return json;
    }
    if (answer.status === 401)
      throw ask_for_key(key);
    if (answer.status !== 429 && answer.status !== 503)
      throw new Trouble("refused", message);
    const seconds = Number(answer.headers.get("Retry-After")) || 1;
    const often = seconds === 1 ? "second" : seconds + " seconds";
    note(`The server is busy (${message}). The page asks again every ${often} until you press Stop.`);
    await sleep(seconds, signal);
  }
}

function ask_for_key(sent) {
  const text = sent ? "The key is wrong: the server refused it." : "This server needs its key.";
  if (sent && sessionStorage.getItem("key") === sent)
    sessionStorage.removeItem("key");
  $("key-says").textContent = text;
  $("key-form").hidden = false;
  $("key").value = "";
  $("key").focus();
  return new Trouble("key", text);
}

$("key-form").addEventListener("submit", e => {
  e.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  $("key-form").hidden = true;
  if (!$("hand").hidden)
    judge();
  else if (run)
    go_on(run);
});
$("key-cancel").addEventListener("click", () => { $("key-form").hidden = true; });

let state_timer = 0;
function set_state(kind, text) {
  $("state").textContent = text;
  $("state").className = kind;
  clearTimeout(state_timer);
  state_timer = setTimeout(show_state, kind === "ok" ? 10000 : 1000);
}

async function show_state() {
  try {
    const answer = await fetch("/health", { signal: AbortSignal.timeout(5000) }), json = await answer.json();
    answer.ok ? set_state("ok", json.model) : set_state("bad", json.error.message + "…");
  } catch {
    set_state("bad", "the server does not answer");
  }
}

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

/* ---- The form ---- */

// A text area changes line ends and cannot hold a conversation: until somebody edits it, what was put in counts.
function put(area, given, shown = given) {
  area.value = shown;
  area.given = { given, shown: area.value };
}
const text_of = area => area.given && area.given.shown === area.value ? area.given.given : area.value;
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

$("reasons").addEventListener("change", () => { $("votes-label").hidden = !$("reasons").checked; });

function add_answer(text = "") {
  const area = el("textarea", { rows: 5, required: "" });
  put(area, text);
  const box = el("div", {},
    el("div", { class: "answer-head" }, el("label"),
       el("button", { type: "button", onclick: () => { box.remove(); name_answers(); changed(); } }, "Remove")), area);
  $("answers").append(box);
  name_answers();
  return area;
}

const prompt_text = p => typeof p === "string" ? p : p.map(m => `${m.role}: ${m.content}`).join("\n");

function show_turns() {
  const p = text_of($("prompt"));
  say($("turns"), typeof p === "string" ? ""
    : `A conversation of ${p.length} turns. Edited, it is judged as one turn.`);
}

function fill_form(prompt, texts) {
  put($("prompt"), prompt, prompt_text(prompt));
  $("answers").replaceChildren();
  texts.forEach(t => add_answer(t));
  changed();
}

/* ---- Judging ---- */

let asked = null;                           // the request under way, by its AbortController

// A verdict holds for the texts that were judged and for no others.
function changed() {
  show_turns();
  if (asked || $("result").hasChildNodes())
    say($("note"), "What was asked has changed, so the verdict on it is gone. Press Judge for a new one.");
  if (asked)
    asked.abort();
  $("result").replaceChildren();
  say($("error"), "");
}

function set_judging(on) {
  $("go").disabled = on;
  $("go").textContent = on ? "Judging…" : "Judge";
  $("stop-judging").hidden = !on;
}

// One question at a time: work(signal, note) asks it, failed(err) says why there is no answer.
async function ask(work, failed) {
  const mine = new AbortController();
  if (asked)
    asked.abort();
  asked = mine;
  set_judging(true);
  say($("error"), "");
  say($("note"), "");
  try {
    await work(mine.signal, text => {
      say($("note"), text);
      if (text)
        into_view($("note"));
    });
  } catch (err) {
    if (asked === mine && err.name !== "AbortError") {
      say($("note"), "");
      failed(err);
    }
  }
  if (asked === mine) {
    asked = null;
    set_judging(false);
  }
}

function judge() {
  const texts = answers().map(text_of), prompt = text_of($("prompt")), result = $("result");
  result.replaceChildren();
  ask(async (signal, note) => {
    const how = $("reasons").checked ? { rationale: true, votes: Number($("votes").value), stream: true } : {};
    const take = part => show_part(result, part);
    if (texts.length === 2) {
      const body = { prompt, a: texts[0], b: texts[1], explain: true, ...how };
      show_verdict(result, await call("/v1/score", body, signal, note, take), "A", "B");
    } else {
      const body = { prompt, responses: texts, method: $("method").value, ...how };
      show_ranking(await call("/v1/rank", body, signal, note, take), prompt, texts);
    }
    into_view(result.firstChild);
  }, err => {
    if (err.kind !== "key")                 // which is asked for at the top, in words of its own
      say($("error"), err.message + (err.kind === "lost" ? " Press Judge again when it is back." : ""));
  });
}

$("judge").addEventListener("input", changed);
$("add").addEventListener("click", () => { add_answer().focus(); changed(); });
$("example").addEventListener("click", () => fill_form("Why is the sky blue?", [
  "Sunlight is scattered by the molecules of the air, and short wavelengths are scattered far more than long ones " +
  "(Rayleigh scattering). So blue light reaches us from every direction of the sky.",
  "Because it reflects the color of the ocean."]));
$("judge").addEventListener("keydown", e => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey))
    $("judge").requestSubmit();
});
$("judge").addEventListener("submit", e => {
  e.preventDefault();
  judge();
});
$("stop-judging").addEventListener("click", () => {
  asked.abort();
  say($("note"), "Stopped. Nothing was decided.");
});

add_answer();
add_answer();
show_state();
