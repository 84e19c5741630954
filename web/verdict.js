// verdict.js - what the page shows of an answer to /v1/score and /v1/rank.
"use strict";

/* ---- Judging by hand: a verdict ---- */

// Pixels that a chart in a card of this box may take.
const room = box => Math.max(240, Math.min(680, box.clientWidth - 36));

// An axis below a drawing's bars: what they measure, in words, under its ticks.
function axis_below(s, x, y, ticks, format, title) {
  s.append("g").attr({ class: "axis", transform: `translate(0 ${y})` })
    .call(d3.svg.axis().scale(x).orient("bottom").ticks(ticks).tickFormat(format).innerTickSize(4).outerTickSize(0));
  s.append("text").attr({ class: "soft", x: d3.mean(x.range()), y: y + 38, "text-anchor": "middle" }).text(title);
}

// A bar from 0 to 1 for each order and for both, with the middle marked.
function preference_bars(where, v, a, b) {
  const rows = v.rewards ? [["preference", v.preference, 1]]
    : [["both orders", v.preference, 1], [a + " first", v.p_forward, .55], [b + " first", v.p_swapped, .55]]
      .filter(r => r[1] !== null);
  const width = room(where), high = 34, bottom = rows.length * high;
  const x = d3.scale.linear().range([90, width - 76]);
  const s = chart(width, bottom + 44, `Probability that ${a} beats ${b}: ${percent(v.preference)}`);
  const row = s.selectAll("g").data(rows).enter().append("g")
    .attr("transform", (r, i) => `translate(0 ${i * high + 4})`);
  row.append("text").attr({ x: x(0) - 8, y: 18, "text-anchor": "end" }).text(r => r[0]);
  row.append("rect").attr({ class: "a", x: x(0), width: r => x(r[1]) - x(0), height: 24, opacity: r => r[2] });
  row.append("rect").attr({ class: "b", x: r => x(r[1]), width: r => x(1) - x(r[1]), height: 24, opacity: r => r[2] });
  row.append("text").attr({ x: x(1) + 8, y: 18 }).text(r => `${a} ${percent(r[1])}`);
  s.append("line").attr({ class: "mark", x1: x(.5), x2: x(.5), y1: 0, y2: bottom });
  axis_below(s, x, bottom, width < 400 ? 2 : 4, whole_percent,
             `probability that ${a} wins` + (width < 400 ? "" : ` (${a} blue, ${b} orange)`));
  return s.node();
}

// Of a judge that gives each answer a number of a scale: how likely its reply is one at all.
const MASS = "P(a number)";

// Of a model with a reward head or a judge of one answer, which read each answer alone: no orders, no labels.
function reward_table(v, a, b) {
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Answer", "Reward", ...(v.sigma ? ["σ"] : []), ...(v.mass ? [MASS] : [])]
      .map(t => el("th", {}, t)))),
    el("tbody", {}, ...[a, b].map((name, i) => el("tr", {}, el("td", {}, name), el("td", {}, fixed(v.rewards[i])),
      ...(v.sigma ? [el("td", {}, fixed(v.sigma[i]))] : []), ...(v.mass ? [el("td", {}, percent(v.mass[i]))] : []))))));
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

// Reasons that are being written, one box each, until the verdict takes their place.
function show_part(where, part) {
  if (!where.querySelector(".writing"))
    where.replaceChildren(el("div", { class: "card writing" }, el("p", { class: "verdict" }, "Writing reasons…")));
  const card = where.querySelector(".writing"), id = `reason-${part.index}-${part.rationale}`;
  let box = card.querySelector("#" + id);
  if (!box) {
    const names = part.pair ? part.pair.map(letter) : ["A", "B"];
    box = el("pre", { id, tabindex: 0 });
    card.append(el("p", {}, (part.pair ? names.join(" and ") + ", reasons " : "Reasons ") +
                            `${part.rationale + 1}, ${names[part.first === "a" ? 0 : 1]} read first`), box);
  }
  box.append(part.delta);
}

// The reasons before a verdict, in the order of their numbers, each with what it says.
function reasons_of(v, a, b) {
  const all = [];
  v.orders.forEach((o, k) => o.rationale.forEach((text, i) => all.push({
    number: i * v.orders.length + k + 1, text, first: o.first === "a" ? a : b, p: o.p[i], status: o.status[i],
    contradicts: o.contradicts[i], tokens: o.tokens[i] })));
  return all.sort((x, y) => x.number - y.number);
}

function show_reasons(v, a, b) {
  const reasons = reasons_of(v, a, b);
  return [el("div", { class: "row" }, badge(false, `votes ${a} ${v.votes[0]}, ${b} ${v.votes[1]}`),
             ...(v.error === null ? [] : [badge(false, "± " + percent(v.error))]),
             badge(v.forced, v.forced ? `${v.forced} cut off` : "all closed"),
             badge(v.contradicts,
                   v.contradicts ? `${v.contradicts} contradict their verdict` : "none contradicts itself"),
             ...(v.early ? [badge(false, "stopped early: they agreed")] : [])),
          ...reasons.map(r => el("details", { open: "", class: "reason" },
            el("summary", {}, `Reasons ${r.number}, ${r.first} read first: ${a} ${percent(r.p)}`),
            el("p", {}, el("small", {}, `${r.status}, ${r.tokens} tokens` +
              (r.contradicts ? "; their conclusion names the other answer" : ""))),
            el("pre", { tabindex: 0 }, r.text)))];
}

// Where text was left out the model read a mark in its place, which is made to stand out.
function read_text(text, cut) {
  const parts = cut ? text.split(/(\[…\])/) : [text];
  return el("pre", { tabindex: 0 }, ...parts.map((t, i) => i % 2 ? el("mark", {}, t) : t));
}

// Digits enough that what is not even does not read as 50.0 %.
function lead(p) {
  let digits = 1;
  while (digits < 6 && p !== .5 && Number((100 * p).toFixed(digits)) === 50)
    digits++;
  return (100 * p).toFixed(digits) + " %";
}

// What was decided: a headline, and under it what there is to say more.
function decision(v, a, b) {
  const p = v.preference, winner = p > .5 ? a : b, sure = Math.max(p, 1 - p);
  if (v.flipped)
    return ["Nothing is decided: the orders disagree",
            `The answer that is read ${v.p_forward > v.p_swapped ? "first" : "second"} wins both times. ` +
            (p === .5 ? "Over both orders it is a tie." : `Over both orders ${winner} is ahead with ${lead(sure)}.`)];
  return [p === .5 ? "A tie" : `${winner} is better, ${lead(sure)} sure`, ""];
}

const badge = (warn, text) => el("span", { class: warn ? "badge warn" : "badge" }, text);

function show_verdict(where, v, a, b) {
  const [headline, more] = decision(v, a, b);
  const badges = el("div", { class: "row" },
    ...(v.p_swapped === null || v.p_forward === null ? []
      : [badge(v.flipped, v.flipped ? "the orders disagree" : "both orders agree")]),
    badge(v.truncated, v.truncated ? "text was left out to fit" : "nothing left out"),
    badge(false, v.tokens + " tokens"), badge(false, "margin " + fixed(v.logit_margin)));
  const card = el("div", { class: "card" },
    el("p", { class: "verdict" }, headline), ...(more ? [el("p", {}, more)] : []),
    preference_bars(where, v, a, b), badges,
    ...(v.orders ? show_reasons(v, a, b) : [v.rewards ? reward_table(v, a, b) : order_table(v, a, b)]));
  (v.read || []).forEach((text, i) => card.append(el("details", {},
    el("summary", {}, `What the model read, ${i ? b : a}${v.rewards ? "" : " first"}`), read_text(text, v.truncated))));
  where.replaceChildren(card);
}

/* ---- Judging by hand: a ranking ---- */

// What a ranking's scores are, and the part of their axis that is always shown: a small difference stays a small one.
function scale_of(r) {
  if (r.rewards)
    return { from: -1, to: 1, title: r.sigma ? "reward less λ × overlap" : "reward", format: null };
  if (r.method === "all-pairs")
    return { from: -1, to: 1, title: "Bradley–Terry strength in logits, mean 0", format: null };
  return { from: 0, to: 1, title: "comparisons won of those made", format: whole_percent };
}

function rank_chart(r) {
  const n = r.results.length, width = room($("result")), high = 32, is = scale_of(r);
  const scores = r.results.map(q => q.score);
  const x = d3.scale.linear().domain(d3.extent([is.from, is.to, ...scores])).range([50, width - 70]);
  const digits = d3.max(scores) - d3.min(scores) < .1 ? 4 : 2, name = (q, i) => `${i + 1}. ${letter(q.index)}`;
  const s = chart(width, n * high + 50, "Ranking: " +
    r.results.map(q => `${letter(q.index)} ${fixed(q.score, digits)}`).join(", "));
  const row = s.selectAll("g").data(r.results).enter().append("g")
    .attr("transform", (q, i) => `translate(0 ${i * high + 4})`);
  row.append("text").attr({ x: 42, y: 17, "text-anchor": "end" }).text(name);
  row.append("rect").attr({ class: q => q.score < 0 ? "b" : "a", x: q => Math.min(x(0), x(q.score)), height: 24,
                            width: q => Math.max(1, Math.abs(x(q.score) - x(0))) });
  row.append("text").attr({ x: width - 62, y: 17 }).text(q => fixed(q.score, digits));
  s.append("line").attr({ class: "mark", x1: x(0), x2: x(0), y1: 0, y2: n * high });
  axis_below(s, x, n * high + 2, width < 400 ? 3 : 6, is.format, is.title);
  return s.node();
}

// Of a model with a reward head, best first.
function rewards_table(r) {
  const row = q => [letter(q.index), fixed(r.rewards[q.index]), ...(r.mass ? [percent(r.mass[q.index])] : []),
                    ...(r.sigma ? [fixed(r.sigma[q.index]), fixed(r.overlap[q.index]), fixed(q.score)] : [])];
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["Answer", "Reward", ...(r.mass ? [MASS] : []),
                                      ...(r.sigma ? ["σ", "Overlap", "Less λ × overlap"] : [])]
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

const list = names => names.length < 2 ? names.join()
                                       : names.slice(0, -1).join(", ") + " and " + names[names.length - 1];

// The headline of a ranking: who is first, unless that hangs on the order in which two answers are read.
function first_place(r) {
  const top = r.results[0], tied = r.results.filter(q => q.score === top.score).map(q => letter(q.index));
  const rivals = r.comparisons.filter(c => c.flipped && (c.i === top.index || c.j === top.index))
    .map(c => letter(c.i === top.index ? c.j : c.i));
  if (tied.length > 1)
    return `${list(tied)} share the first place`;
  return rivals.length ? `Nothing is decided between ${list([letter(top.index), ...rivals])}: the orders disagree`
                       : `${letter(top.index)} is best of ${r.results.length}`;
}

function show_ranking(r, prompt, texts) {
  const detail = el("div"), flips = r.comparisons.filter(c => c.flipped).length;
  const pairs = r.rewards
    ? d3.merge(r.preference.map((row, i) => row.map((p, j) => ({ i, j, preference: p })).slice(i + 1))) : r.comparisons;
  const open = c => {
    detail.replaceChildren();
    if (c.orders) {                         // its reasons are here: others would be written anew
      show_verdict(detail, c, letter(c.i), letter(c.j));
      into_view(detail.firstChild);
      return;
    }
    ask(async (signal, note) => {
      const body = { prompt, a: texts[c.i], b: texts[c.j], explain: true };
      show_verdict(detail, await call("/v1/score", body, signal, note), letter(c.i), letter(c.j));
      into_view(detail.firstChild);
    }, err => {
      detail.replaceChildren(el("p", { class: "error", role: "alert" }, err.message));
      into_view(detail);
    });
  };
  $("result").replaceChildren(el("div", { class: "card" },
    el("p", { class: "verdict" }, first_place(r)), rank_chart(r),
    el("div", { class: "row" },
      ...(r.rewards ? [] : [
        badge(flips, `${flips} of ${r.comparison_count} comparisons flip with the order`),
        badge(r.intransitive, r.intransitive ? "preferences run in a circle" : "no circle in the preferences")]),
      badge(r.truncated, r.truncated ? "text was left out to fit" : "nothing left out"),
      badge(false, `${r.tokens} tokens in ${r.passes} passes`)),
    ...(r.rewards ? [el("h2", {}, "Rewards"), rewards_table(r)] : []),
    el("h2", {}, "Preferences"), matrix_table(r),
    el("h2", {}, r.rewards ? "Pairs" : "Comparisons"), el("div", { class: "row" },
      ...pairs.map(c => el("button", { type: "button", onclick: () => open(c) },
        `${letter(c.i)} – ${letter(c.j)}: ${percent(c.preference)}${c.flipped ? " ↺" : ""}`))), detail));
}

