// dom.js - what both pages make elements and drawings with.
"use strict";

const $ = id => document.getElementById(id);

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
