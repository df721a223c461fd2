"use strict";
// Tables sort by the column whose head is chosen: up, down, and back to the report's order. A row moves as a whole.
// A column is numeric if each cell starts with a number that ends there ("1,234", "< 0.0001", "3 to 5 px", "2 (1 to 3)"), so
// that dates, names and hashes are texts. Cells without a value come last either way.
const NUMBER = /^(?:< )?([+-]?[\d,]*\.?\d+)(?=$|[ %°])/;
const byText = new Intl.Collator("en", { numeric: true }).compare;
const isMissing = text => ["", "-", "\u2013"].includes(text);
const keysOf = texts => {
  const numeric = texts.every(text => isMissing(text) || NUMBER.test(text));
  return texts.map(text => isMissing(text) ? null : numeric ? Number(NUMBER.exec(text)[1].replaceAll(",", "")) : text);
};
const compare = (one, other) => typeof one === "number" ? one - other : byText(one, other);
const sortable = (head, table, rows, at) => {
  const keys = keysOf(rows.map(row => row.cells[at].textContent.trim()));
  if (keys.every(key => key === null)) return;  // such as a column of pictures
  const key = new Map(rows.map((row, number) => [row, keys[number]]));
  const sorted = sign => [...rows].sort((one, other) => {
    const [a, b] = [key.get(one), key.get(other)];
    return a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b);
  });
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    if (next !== null) head.setAttribute("aria-sort", next ?? "ascending");
    table.tBodies[0].append(...(next === null ? rows : sorted(next ? -1 : 1)));
  });
};
for (const table of document.querySelectorAll("table")) {
  const rows = [...(table.tBodies[0]?.rows ?? [])];
  const heads = [...(table.tHead?.rows[0].cells ?? [])];
  const grid = !table.querySelector("th img") && rows.every(row => row.cells.length === heads.length);
  if (rows.length > 1 && grid) heads.forEach((head, at) => sortable(head, table, rows, at));
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
  // An image that a link leads to is shown whatever was chosen, below the bar, whose height depends on the window.
  const admit = hash => {
    if (!document.getElementById(hash.slice(1))?.hidden) return;
    form.reset();
    show();
  };
  document.addEventListener("click", event => {
    const link = event.target.closest?.("a[href^='#image-']");
    if (link) admit(link.hash);
  }, true);
  new ResizeObserver(() => form.parentElement.style.setProperty("--bar", `${form.offsetHeight}px`)).observe(form);
  form.parentElement.style.setProperty("--bar", `${form.offsetHeight}px`);
  show();
  admit(location.hash);
}
// What a gallery leaves out is linked by number; once opened, each link becomes the card of the image, from the errors' section.
const cardOf = link => {
  const from = document.getElementById(link.hash.slice(1));
  const card = document.createElement("figure");
  const text = from.querySelector("figcaption").cloneNode(true);
  link.replaceChildren(from.querySelector(".digit").cloneNode());
  card.className = "card";
  card.append(link, text);
  return card;
};
const fill = links => {
  const gallery = document.createElement("div");
  gallery.className = "gallery";
  gallery.append(...[...links.querySelectorAll("a")].map(cardOf));
  links.replaceWith(gallery);
};
const linksIn = whole => whole.querySelectorAll("details.rest > .links");
document.querySelectorAll("details.rest").forEach(rest => rest.addEventListener("toggle", () => linksIn(rest).forEach(fill)));
// What is closed on the screen is open on paper.
addEventListener("beforeprint", () => {
  linksIn(document).forEach(fill);
  document.querySelectorAll("details").forEach(one => { one.open = true; });
});
