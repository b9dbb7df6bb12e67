// Click a column's head to sort by it; numbers by value, everything else by its text. Long tables
// have a field above them that keeps the rows holding all of its words.
const LONG = 8;

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => direction * compare(a.cells[column], b.cells[column]));
      body.append(...rows);
    });
  });
  if (body.rows.length > LONG) addSearch(table, body);
}

function compare(a, b) {
  const [x, y] = [a.dataset.value, b.dataset.value];
  if (x !== undefined && y !== undefined) return x - y;
  if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1;
  return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

function addSearch(table, body) {
  const label = document.createElement("label");
  const field = document.createElement("input");
  const count = document.createElement("span");
  label.className = "search";
  field.type = "search";
  const told = (shown) => { count.textContent = `${shown} of ${body.rows.length} rows`; };
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    told(shown);
  });
  told(body.rows.length);
  label.append("Search ", field, " ", count);
  table.closest(".table").prepend(label);
}

// A link to a property opens it.
function openTarget(hash) {
  const target = document.getElementById(decodeURIComponent(hash.slice(1)));
  const folded = target?.querySelector(":scope > details");
  if (!folded) return;
  folded.open = true;
  target.scrollIntoView();
}
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", () => openTarget(link.hash)); // also a second time
}
addEventListener("hashchange", () => openTarget(location.hash));
openTarget(location.hash);

// On paper nothing can be opened.
const forPaper = new Set();
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.open = true;
    forPaper.add(part);
  }
});
addEventListener("afterprint", () => {
  for (const part of forPaper) part.open = false;
  forPaper.clear();
});
