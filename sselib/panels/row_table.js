// A table whose rows can be clicked and whose columns can be sorted; a cell is a text or a number.
function render({ model, el }) {
  el.classList.add("sse-table");
  let column = -1, falling = false;
  const shown = (value) =>
    value === null ? "–" : typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : `${value}`;
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null); // missing values stay below
    const order = typeof a === "number" && typeof b === "number" ? a - b : `${a}`.localeCompare(`${b}`);
    return falling ? -order : order;
  };
  const mark = () => {
    for (const line of el.querySelectorAll("tbody tr"))
      line.classList.toggle("selected", line.dataset.id === model.get("selected"));
  };
  const draw = () => {
    const rows = [...model.get("rows")], ids = model.get("ids"), table = document.createElement("table");
    const order = rows.map((_, k) => k);
    if (column >= 0) order.sort((i, j) => compare(rows[i][column], rows[j][column]));
    const head = table.createTHead().insertRow();
    model.get("columns").forEach((name, k) => {
      const cell = document.createElement("th");
      cell.textContent = name + (k === column ? (falling ? " ▾" : " ▴") : "");
      cell.addEventListener("click", () => {
        falling = k === column ? !falling : false;
        column = k;
        draw();
      });
      head.append(cell);
    });
    const body = table.createTBody();
    for (const k of order) {
      const line = body.insertRow();
      line.dataset.id = ids[k];
      for (const value of rows[k]) {
        const cell = line.insertCell();
        cell.textContent = shown(value);
        cell.classList.toggle("number", typeof value === "number");
      }
      line.addEventListener("click", () => {
        model.set("selected", ids[k]);
        model.save_changes();
      });
    }
    el.replaceChildren(table);
    mark();
  };
  model.on("change:rows", draw);
  model.on("change:selected", mark);
  draw();
  // Figures of the same panel fit their width only when the window says that its size has changed.
  const observer = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
  observer.observe(el);
  return () => observer.disconnect();
}
export default { render };
