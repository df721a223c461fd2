"use strict";
// Tables sort by the column whose head is chosen: numbers by value, texts by letter.
for (const table of document.querySelectorAll("table:not(.plain)")) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) continue;
  const value = (row, at) => row.cells[at].textContent.trim();
  const number = text => parseFloat(text.replace(/^< */, "").replace(/,/g, ""));
  table.querySelectorAll("thead th").forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one, at), value(other, at)];
        const [x, y] = [number(a), number(b)];
        const order = isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}
// The gallery of errors shows what all choices admit.
const form = document.querySelector("#filters");
if (form) {
  const cards = [...document.querySelectorAll("#errors > figure")];
  const show = () => {
    const want = Object.fromEntries(new FormData(form));
    let shown = 0;
    for (const card of cards) {
      const wrong = JSON.parse(card.dataset.wrong);
      const fits = (!want.label || card.dataset.label === want.label) &&
        wrong.some(([model, predicted]) =>
          (!want.model || model === want.model) && (!want.predicted || predicted === want.predicted));
      card.hidden = !fits;
      shown += fits;
    }
    document.querySelector("#shown").textContent = `${shown} of ${cards.length} images`;
  };
  form.addEventListener("change", show);
  form.addEventListener("reset", () => setTimeout(show));
  show();
}
// What is closed on the screen is open on paper.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
