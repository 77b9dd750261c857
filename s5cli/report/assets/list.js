// The list: sorting by its columns, filtering by text, class and flags, walking through it with keys.
"use strict";

(() => {
  const body = document.querySelector("#clips tbody");
  const heads = [...document.querySelectorAll("#clips thead th")];
  const search = document.getElementById("search");
  const classes = document.getElementById("class");
  const flags = [...document.querySelectorAll("#filters [data-flag]")];
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const words = (text) => (text ? text.split("\n") : []);
  const rows = [...body.rows].map((row) => ({
    row,
    key: row.dataset.key,
    link: row.querySelector("a"),
    labels: new Set(words(row.dataset.labels)),
    flags: new Set(words(row.dataset.flags)),
    text: `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase(),
    values: heads.map((head, column) => value(row.cells[column], head.dataset.kind)),
  }));
  const collator = new Intl.Collator("en", { numeric: true });
  let sorting = { column: 0, direction: "ascending" };
  let order = rows;
  let shown = rows;

  function value(cell, kind) {
    if (kind === "text") return cell.textContent.trim();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }

  // Clips without a value come last in either direction; equal ones stay in the order of their names.
  function compare(a, b) {
    const [x, y] = [a.values[sorting.column], b.values[sorting.column]];
    if (x === null || y === null) return (x === null) - (y === null);
    const sign = sorting.direction === "ascending" ? 1 : -1;
    return sign * (typeof x === "string" ? collator.compare(x, y) : x - y);
  }

  function sort(column, direction) {
    sorting = { column, direction };
    heads.forEach((head, index) => head.setAttribute("aria-sort", index === column ? direction : "none"));
    order = [...rows].sort(compare);
    body.replaceChildren(...order.map(({ row }) => row));
    filter();
  }

  function filter() {
    const wanted = flags.filter((flag) => flag.getAttribute("aria-pressed") === "true").map((flag) => flag.dataset.flag);
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (entry) => terms.every((term) => entry.text.includes(term))
      && (!classes.value || entry.labels.has(classes.value)) && wanted.every((flag) => entry.flags.has(flag));
    for (const entry of rows) entry.row.hidden = !matches(entry);
    shown = order.filter(({ row }) => !row.hidden);
    const all = rows.length.toLocaleString("en");
    count.textContent = shown.length === rows.length ? `${all} clips` : `${shown.length.toLocaleString("en")} of ${all} clips`;
    none.hidden = shown.length > 0;
    report.remember("sessionStorage", `order ${report.folder}`, shown.map(({ key }) => key));
    report.remember("sessionStorage", `view ${report.folder}`,
      { sorting, search: search.value, chosen: classes.value, flags: wanted });
  }

  // As it was left, so that the way back from a clip leads to where one came from.
  function restore() {
    const view = report.recall("sessionStorage", `view ${report.folder}`);
    if (view && view.sorting.column < heads.length) {
      search.value = view.search;
      classes.value = view.chosen;
      if (classes.selectedIndex < 0) classes.value = "";
      flags.forEach((flag) => flag.setAttribute("aria-pressed", String(view.flags.includes(flag.dataset.flag))));
      sort(view.sorting.column, view.sorting.direction);
    } else {
      sort(0, "ascending");
    }
    const last = report.recall("sessionStorage", `last ${report.folder}`);
    shown.find(({ key }) => key === last)?.link.focus();
  }

  function move(step) {
    const at = shown.findIndex(({ link }) => link === document.activeElement);
    const next = shown[at < 0 ? (step > 0 ? 0 : shown.length - 1) : at + step];
    next?.link.focus({ preventScroll: true });
    next?.row.scrollIntoView({ block: "nearest" });
  }
  const moveIfThere = (step) => body.contains(document.activeElement) && move(step);

  // The column heads stay visible below the filters, however many lines these take.
  const filters = document.getElementById("filters");
  new ResizeObserver(() => document.body.style.setProperty("--bar", `${filters.offsetHeight}px`)).observe(filters);

  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    sort(column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
  }));
  search.addEventListener("input", filter);
  classes.addEventListener("change", filter);
  flags.forEach((flag) => flag.addEventListener("click", () => {
    flag.setAttribute("aria-pressed", String(flag.getAttribute("aria-pressed") !== "true"));
    filter();
  }));
  filters.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); move(1); }
    if (event.key === "Escape" && !search.value) search.blur();
  });

  report.listen([
    { keys: ["/"], meaning: "find a clip", run: () => search.select() },
    { keys: ["j"], shown: "j  ↓", meaning: "next clip", run: () => move(1) },
    { keys: ["k"], shown: "k  ↑", meaning: "previous clip", run: () => move(-1) },
    { keys: ["ArrowDown"], hidden: true, run: () => moveIfThere(1) },
    { keys: ["ArrowUp"], hidden: true, run: () => moveIfThere(-1) },
    { keys: [], shown: "Enter", meaning: "open the clip", run: () => false },
  ]);
  restore();
})();
