for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows];
  const bar = document.createElement("p"), box = document.createElement("input"), count = document.createElement("span");
  bar.className = "note";
  box.type = "search";
  box.placeholder = "filter: words, or column>value";
  box.size = 34;
  const names = [...table.tHead.rows[0].cells].map(cell => cell.textContent.trim().toLowerCase());
  const number = text => { const n = parseFloat(text.replace("−", "-").replace(",", "")); return isNaN(n) ? null : n; };
  const passes = (row, word) => {
    const limit = word.match(/^(.+?)([<>])(-?[\d.]+)$/);
    if (!limit) return row.textContent.toLowerCase().includes(word);
    const column = names.findIndex(name => name.startsWith(limit[1]));
    const value = column < 0 ? null : number(row.cells[column].textContent);
    return value !== null && (limit[2] === ">" ? value > +limit[3] : value < +limit[3]);
  };
  const show = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every(word => passes(row, word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = ` ${shown} of ${rows.length} rows. Click a heading to sort.`;
  };
  [...table.tHead.rows[0].cells].forEach((cell, k) => {
    cell.tabIndex = 0;
    const sort = () => {
      const up = cell.dataset.order !== "up";
      for (const other of table.tHead.rows[0].cells) delete other.dataset.order;
      cell.dataset.order = up ? "up" : "down";
      const key = row => row.cells[k].textContent;
      const compare = (a, b) => {
        const x = number(key(a)), y = number(key(b));
        if (x === null && y === null) return key(a).localeCompare(key(b)) * (up ? 1 : -1);
        if (x === null || y === null) return x === null ? 1 : -1;
        return (x - y) * (up ? 1 : -1);
      };
      body.append(...rows.sort(compare));
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
  box.addEventListener("input", show);
  bar.append(box, count);
  (table.closest(".scroll") || table).before(bar);
  show();
}
