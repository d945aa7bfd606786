for (const holder of document.querySelectorAll("script.figure-data")) {
  const figure = JSON.parse(holder.textContent), target = holder.previousElementSibling;
  figure.layout = figure.layout || {};
  delete figure.layout.width;
  figure.layout.autosize = true;
  target.style.height = (figure.layout.height || 460) + "px";
  figure.config = {responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
                   displayModeBar: window.innerWidth < 700 ? false : "hover"};
  Plotly.newPlot(target, figure);
}
