// The page of an audit: its table is sorted by the heads of its columns, and filtered. Without scripts all of it stands
// there just the same.

const table = document.querySelector(".wb-files");
const form = document.querySelector(".wb-filters");
const status = form.querySelector("[role=status]");
const collator = new Intl.Collator("en", { numeric: true });
const rows = [...table.tBodies[0].rows].map((row, index) => ({
  row,
  card: document.getElementById(`f${index}`)?.closest("details"),
  kind: row.cells[1].textContent,
  format: row.cells[2].textContent,
  found: row.dataset.found.split(" "),
}));

function filter() {
  const wanted = Object.fromEntries(new FormData(form));
  const text = wanted.text.trim().toLowerCase();
  let count = 0;
  for (const one of rows) {
    // Only whoever searches pays for it.
    if (text) one.text ??= `${one.row.textContent} ${one.card?.textContent ?? ""}`.toLowerCase();
    const fits =
      (!wanted.kind || one.kind === wanted.kind) &&
      (!wanted.format || one.format === wanted.format) &&
      (!wanted.found || one.found.includes(wanted.found)) &&
      (!text || one.text.includes(text));
    one.row.hidden = !fits;
    if (one.card) one.card.hidden = !fits;
    count += fits;
  }
  status.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} files`;
}

function sort(head, index) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = ({ row }) => row.cells[index].dataset.v ?? row.cells[index].textContent;
  const sorted = rows.map((one) => [value(one), one.row]).sort(([a], [b]) => collator.compare(a, b));
  if (down) sorted.reverse();
  table.tBodies[0].append(...sorted.map(([, row]) => row));
}

[...table.tHead.rows[0].cells].forEach((head, index) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  button.onclick = () => sort(head, index);
  head.replaceChildren(button);
});
for (const button of document.querySelectorAll("button[data-found]")) {
  button.hidden = false;
  button.onclick = () => {
    form.reset();
    form.elements.found.value = button.dataset.found;
    filter();
    form.scrollIntoView();
    form.elements.found.focus({ preventScroll: true });
  };
}
form.hidden = false;
form.oninput = filter;
form.onsubmit = (event) => event.preventDefault();
form.onreset = () => setTimeout(filter); // when the fields are empty
filter();
