// A periodic table to click: one click asks for the element, a second one bans it, a third one frees it.
function render({ model, el }) {
  el.classList.add("sse-picker");
  const next = (symbol) => {
    const required = new Set(model.get("required")), excluded = new Set(model.get("excluded"));
    if (required.delete(symbol)) excluded.add(symbol);
    else if (!excluded.delete(symbol)) required.add(symbol);
    model.set({ required: [...required].sort(), excluded: [...excluded].sort() });
    model.save_changes();
  };
  const draw = () => {
    const required = model.get("required"), excluded = model.get("excluded");
    el.replaceChildren(
      ...model.get("elements").map(({ symbol, name, row, column, rows }) => {
        const tile = document.createElement("button");
        const state = required.includes(symbol) ? "required" : excluded.includes(symbol) ? "excluded" : "";
        tile.className = `sse-tile ${state}`;
        tile.style.gridRow = row;
        tile.style.gridColumn = column;
        tile.textContent = symbol;
        tile.disabled = rows === 0 && state === "";
        tile.title = `${name}: ${rows} rows`;
        tile.setAttribute("aria-label", `${name}, ${rows} rows${state ? ", " + state : ""}`);
        tile.addEventListener("click", () => next(symbol));
        return tile;
      }),
    );
  };
  for (const name of ["elements", "required", "excluded"]) model.on(`change:${name}`, draw);
  draw();
}
export default { render };
