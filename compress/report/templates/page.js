"use strict";
// Tables: a header's button sorts up, then down, then back to the order of the file. "-" stays last.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], order = [...body.rows];
  const heads = [...table.querySelectorAll("th[aria-sort]")];
  const key = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.key ?? cell.textContent.trim();
    if (text === "" || text === "-") return null;
    const value = Number(text.replace(/[\s,%x\u00d7]/g, ""));
    return Number.isNaN(value) ? text : value;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true });
  for (const head of heads) head.querySelector("button").addEventListener("click", () => {
    const column = head.cellIndex;
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort];
    for (const other of heads) other.ariaSort = other === head ? next : "none";
    const sign = next === "descending" ? -1 : 1, sorted = [...order];
    if (next !== "none") sorted.sort((one, two) => {
      const a = key(one, column), b = key(two, column);
      return a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b);
    });
    body.append(...sorted);
  });
}

// Figures: what a mark says, under the pointer, under a finger, or by the arrow keys in a focused figure.
const tip = document.createElement("div");
tip.className = "tip"; tip.hidden = true; tip.role = "status";
document.body.append(tip);
let at = null;
const hide = () => { tip.hidden = true; at?.classList.remove("at"); at = null; };
const show = mark => {
  hide();
  at = mark; at.classList.add("at");
  tip.textContent = mark.dataset.tip; tip.hidden = false;
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(box.x + box.width / 2 - own.width / 2, innerWidth - own.width - 4)) + "px";
  tip.style.top = (box.y > own.height + 8 ? box.y - own.height - 6 : box.bottom + 6) + "px";
};
document.addEventListener("pointerover", event => {
  const mark = event.target.closest?.("[data-tip]");
  if (mark) show(mark); else hide();
});
addEventListener("scroll", hide, true);
for (const drawing of document.querySelectorAll("svg[tabindex]")) {
  const marks = [...drawing.querySelectorAll("[data-tip]")];
  let last = -1;  // where the arrow keys were, also after a scroll has hidden the tip
  drawing.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || !marks.length) return;
    event.preventDefault();
    const now = marks.includes(at) ? marks.indexOf(at) : last;
    last = now < 0 ? (step > 0 ? 0 : marks.length - 1) : (now + step + marks.length) % marks.length;
    show(marks[last]);
  });
  drawing.addEventListener("blur", () => { hide(); last = -1; });
}

// Contents: the section being read is marked.
const links = new Map([...document.querySelectorAll("nav.toc a")].map(a => [a.hash.slice(1), a]));
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const section of document.querySelectorAll("section[id]")) if (links.has(section.id)) seen.observe(section);

// Print: what is folded is shown.
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
