// What tests/report/test_browser.py asks of a page.
"use strict";

// Texts whose colour is too near to what is painted below them (WCAG 2.2, 1.4.3), from computed styles.
globalThis.lowContrast = () => {
  const rgba = text => { const v = text.match(/[\d.]+/g).map(Number); return v.length > 3 ? v : [...v, 1] };
  const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !node.checkVisibility() || node.closest("title, desc, script, style, .skip, .tip")) continue;
    const style = getComputedStyle(node), layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    const box = node.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
    if (node instanceof SVGElement) for (const mark of node.ownerSVGElement.querySelectorAll("rect")) {
      if (!(mark.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      const b = mark.getBoundingClientRect(), paint = getComputedStyle(mark);
      if (b.left <= x && x <= b.right && b.top <= y && y <= b.bottom) {
        const fill = rgba(paint.fill); fill[3] *= Number(paint.fillOpacity); layers.push(fill);
      }
    }
    const back = layers.reduce((below, top) => over(top, below), [255, 255, 255]);
    const front = over(rgba(node instanceof SVGElement ? style.fill : style.color), back);
    const [a, b] = [light(front), light(back)].sort((p, q) => q - p), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} <${node.tagName}> ${node.textContent.trim().slice(0, 40)}`);
  }
  return bad;
};

// Texts of one drawing that stick out of it at the sides, or run into each other.
globalThis.clashes = () => {
  const bad = [];
  for (const drawing of document.querySelectorAll("svg")) {
    const frame = drawing.getBoundingClientRect();
    const texts = [...drawing.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (const [i, [text, box]] of texts.entries()) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1) bad.push(`${drawing.id}: ${text} sticks out`);
      for (const [other, b] of texts.slice(i + 1)) if (
        Math.min(box.right, b.right) - Math.max(box.left, b.left) > 1 &&
        Math.min(box.bottom, b.bottom) - Math.max(box.top, b.top) > 4) bad.push(`${drawing.id}: ${text} | ${other}`);
    }
  }
  return bad;
};

// Every drawing: its id, size, and how many marks have a width.
globalThis.drawings = () => [...document.querySelectorAll("svg")].map(drawing => {
  const box = drawing.getBoundingClientRect(), marks = [...drawing.querySelectorAll("rect, circle")];
  return [drawing.id, box.width, box.height, marks.filter(m => m.getBoundingClientRect().width > 0).length];
});

// What has the focus, or null when it has left the page.
globalThis.focused = () => {
  const at = document.activeElement;
  return at === document.body ? null : `${at.tagName} ${at.id || at.textContent.trim()}`;
};
