"use strict";
(async () => {
  const root = document.documentElement;
  const remembered = (key, value) => {  // what a reader chose, for the next page of a live report; a file may have no storage
    try {
      if (value === undefined) return sessionStorage.getItem(key);
      sessionStorage.setItem(key, value);
    } catch { }
    return null;
  };

  async function unpacked(id) {
    const element = document.getElementById(id);
    const bytes = Uint8Array.from(atob(element.textContent), (one) => one.charCodeAt(0));
    element.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // --- light and dark
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const stored = remembered("theme");
  if (stored) root.dataset.theme = stored;
  function colours(printed) {
    const own = getComputedStyle(root);
    const ink = printed ? "#000" : own.getPropertyValue("--ink").trim();
    const line = printed ? "#ddd" : own.getPropertyValue("--line").trim();
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
    return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 }, xaxis: axis, yaxis: axis };
  }

  // --- charts: which frame is shown is all that this decides
  const merged = (...layouts) => layouts.reduce((all, one) => {
    for (const [key, value] of Object.entries(one || {})) {
      all[key] = value && typeof value === "object" && !Array.isArray(value) ? merged(all[key] || {}, value) : value;
    }
    return all;
  }, {});
  const LAYOUT = {
    height: 420, margin: { l: 64, r: 12, t: 12, b: 48 }, hovermode: "closest", autosize: true,
    legend: { orientation: "h", y: -0.2, yanchor: "top", font: { size: 11 } },
    xaxis: { automargin: true }, yaxis: { automargin: true },
  };
  const NOTHING = { annotations: [{ text: "nothing was measured of this", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }] };
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const panels = [];

  // A legend stands below its chart, and takes no room from it.
  function withLegend(layout, traces, width) {
    const names = layout.showlegend === false ? [] : traces.filter((one) => one.name && one.showlegend !== false && one.type !== "heatmap");
    if (names.length < 2) return;
    const entry = 52 + 6.3 * Math.max(...names.map((one) => one.name.length));
    const lines = Math.ceil(names.length / Math.max(1, Math.floor((width - 70) / entry)));
    layout.height += 19 * lines;
    layout.margin = { ...layout.margin, b: layout.margin.b + 20 + 19 * lines };
    layout.legend = { ...layout.legend, yref: "container", y: 0, yanchor: "bottom", maxheight: 1 };
  }

  // A telephone has room for a few words beside a chart, and for more lines below it.
  function narrowed(layout, traces) {
    layout.margin = { ...layout.margin, l: 48, r: 6 };
    const title = layout.xaxis.title;
    if (title) title.text = title.text.replace(/(.{24,}?) /g, "$1<br>");
    if (layout.yaxis.type === "category" && traces[0] && traces[0].orientation !== "v") {
      const names = traces[0].y;
      const short = names.map((one) => one.length > 27 ? `${one.slice(0, 12)}…${one.slice(-14)}` : one);
      layout.yaxis = { ...layout.yaxis, tickvals: names, ticktext: short, tickfont: { size: 9 } };
    }
  }

  class Panel {
    constructor(body, figure) {
      this.body = body;
      this.figure = figure;
      this.chosen = body.controls.map(() => 0);
      this.inputs = body.controls.map((control, place) => this.control(control, place));
      this.divs = body.charts.map(() => figure.querySelector(".charts").appendChild(Object.assign(document.createElement("div"), { className: "chart" })));
      this.restore();
    }

    options(place) {
      const { options, by } = this.body.controls[place];
      return by === null ? options : options[this.chosen[by]] || [];
    }

    control(control, place) {
      const label = document.createElement("label");
      const input = document.createElement(control.slider ? "input" : "select");
      label.append(control.label, input);
      if (control.slider) {
        label.className = "slide";
        Object.assign(input, { type: "range", min: 0, step: 1 });
        label.append(document.createElement("output"));
      }
      input.dataset.control = control.label;
      input.addEventListener(control.slider ? "input" : "change", () => this.choose(place, Number(input.value)));
      const several = control.by !== null || control.options.length > 1;
      if (several) this.figure.querySelector(".controls").append(label);
      return input;
    }

    fill() {
      this.body.controls.forEach((control, place) => {
        const options = this.options(place), input = this.inputs[place];
        this.chosen[place] = Math.min(this.chosen[place], Math.max(0, options.length - 1));
        if (control.slider) {
          input.max = Math.max(0, options.length - 1);
          input.nextElementSibling.textContent = options[this.chosen[place]] ?? "";
        } else if (input.options.length !== options.length) {
          input.replaceChildren(...options.map((text, at) => new Option(text, at)));
        }
        input.value = this.chosen[place];
      });
    }

    choose(place, at) {
      this.chosen[place] = at;
      const words = this.body.controls.map((_, one) => this.options(one)[this.chosen[one]]);
      remembered(`panel ${this.body.name}`, JSON.stringify(words));
      return this.draw();
    }

    restore() {
      const words = JSON.parse(remembered(`panel ${this.body.name}`) || "[]");
      this.body.controls.forEach((control, place) => {
        const at = this.options(place).indexOf(words[place]);
        this.chosen[place] = at >= 0 ? at : control.last ? this.options(place).length - 1 : 0;
      });
    }

    draw(printed = false) {
      this.fill();
      const key = this.chosen.join(".");
      return Promise.all(this.body.charts.map((chart, place) => {
        const traces = chart.frames[key];
        const layout = merged(LAYOUT, colours(printed), chart.layout, chart.layouts[key], traces ? {} : NOTHING);
        if (this.divs[place].clientWidth < 480) narrowed(layout, traces || []);
        withLegend(layout, traces || [], this.divs[place].clientWidth);
        this.divs[place].style.minHeight = `${layout.height}px`;
        return Plotly.react(this.divs[place], structuredClone(traces || []), layout, CONFIG);
      }));
    }
  }

  const redraw = (printed) => Promise.all(panels.map((panel) => panel.draw(printed)));
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remembered("theme", root.dataset.theme);
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  matchMedia("print").addEventListener("change", (event) => redraw(event.matches));

  // --- tables: sorted by a click on a heading, filtered by text and layer
  const FEW = 20;
  const shown = (value) => {
    if (value === null) return "-";
    if (typeof value === "string") return value;
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en-US");
    if (size >= 1e7 || size < 1e-3) return Number(value.toPrecision(4)).toExponential().replace("e+", "e");
    return Number(value.toPrecision(4)).toString();
  };

  class Table {
    constructor(body, place) {
      this.body = body;
      this.words = body.columns.map((column) => column.some((one) => typeof one === "string"));
      this.shown = body.columns.map((_, place) => place).filter((place) => body.columns[place].some((one) => one !== null && one !== ""));
      this.order = [...(body.columns[0] || []).keys()];
      this.limit = FEW;
      this.text = "";
      this.layer = "";
      this.sorted = null;
      this.scroll = Object.assign(document.createElement("div"), { className: "scroll" });
      this.count = Object.assign(document.createElement("p"), { className: "soft" });
      if (this.order.length > 5) place.append(this.filters());
      place.append(this.scroll, this.count);
      this.draw();
    }

    filters() {
      const row = Object.assign(document.createElement("div"), { className: "controls filters" });
      const search = Object.assign(document.createElement("input"), { type: "search", placeholder: "filter, by metric or other words" });
      search.addEventListener("input", () => { this.text = search.value.toLowerCase(); this.draw(); });
      row.append(search);
      const layers = this.body.names.indexOf("layer");
      if (layers >= 0) {
        const select = document.createElement("select");
        const found = [...new Set(this.body.columns[layers])].sort((a, b) => (a ?? -1) - (b ?? -1));
        select.append(new Option("all layers", ""), ...found.map((one) => new Option(one === null ? "whole model" : `layer ${one}`, `${one}`)));
        select.addEventListener("change", () => { this.layer = select.value; this.draw(); });
        row.append(select);
      }
      return row;
    }

    get rows() {
      const layers = this.body.columns[this.body.names.indexOf("layer")];
      const words = this.body.columns.filter((_, place) => this.words[place]);
      return this.order.filter((at) =>
        (!this.layer || `${layers[at]}` === this.layer) &&
        (!this.text || words.some((column) => (column[at] ?? "").toLowerCase().includes(this.text))));
    }

    sort(place) {
      const column = this.body.columns[place], up = !(this.sorted && this.sorted.place === place && this.sorted.up);
      this.sorted = { place, up };
      const below = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
      this.order.sort((a, b) => {
        if (column[a] === null || column[b] === null) return (column[a] === null) - (column[b] === null);  // always last
        return up ? below(column[a], column[b]) : below(column[b], column[a]);
      });
      this.draw();
    }

    draw() {
      const rows = this.rows, table = document.createElement("table"), head = table.createTHead().insertRow();
      this.shown.forEach((place) => {
        const cell = Object.assign(document.createElement("th"), { textContent: this.body.headings[place], tabIndex: 0, className: this.words[place] ? "word" : "" });
        cell.dataset.sort = place;
        if (this.sorted && this.sorted.place === place) cell.setAttribute("aria-sort", this.sorted.up ? "ascending" : "descending");
        cell.addEventListener("click", () => this.sort(place));
        cell.addEventListener("keydown", (event) => { if (event.key === "Enter") this.sort(place); });
        head.append(cell);
      });
      const body = table.createTBody();
      for (const at of rows.slice(0, this.limit)) {
        const row = body.insertRow();
        this.shown.forEach((place) => Object.assign(row.insertCell(), { textContent: shown(this.body.columns[place][at]), className: this.words[place] ? "word" : "" }));
      }
      this.scroll.replaceChildren(table);
      this.count.textContent = rows.length === this.order.length && rows.length <= this.limit ? "" : `${Math.min(this.limit, rows.length)} of ${rows.length} rows `;
      if (rows.length > this.limit) {
        const more = Object.assign(document.createElement("button"), { type: "button", textContent: "show all" });
        more.addEventListener("click", () => { this.limit = Infinity; this.draw(); });
        this.count.append(more);
      }
    }
  }

  function csv(body) {
    const quoted = (value) => value === null ? "" : /[",\n\r]/.test(value) ? `"${`${value}`.replaceAll('"', '""')}"` : `${value}`;
    const rows = (body.columns[0] || []).map((_, at) => body.columns.map((column) => quoted(column[at])).join(","));
    return `${[body.names.map(quoted).join(","), ...rows].join("\n")}\n`;
  }

  // --- a live report: a newer one takes this one's place, and the reader stays where they were
  async function follow() {
    const badge = document.getElementById("live");
    if (!badge) return;
    let known = null;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      try {
        const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
        const tag = answer.headers.get("ETag");
        badge.textContent = "live";
        if (known !== null && tag !== known) {
          remembered("scroll", `${scrollY}`);
          location.reload();
          return;
        }
        known = tag;
      } catch {
        badge.textContent = "live: its server does not answer";
      }
    }
  }

  const { panels: bodies, tables } = JSON.parse(await unpacked("data"));
  for (const place of document.querySelectorAll("[data-table]")) new Table(tables[place.dataset.table], place);
  for (const button of document.querySelectorAll("[data-csv]")) {
    button.addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([csv(tables[button.dataset.csv])], { type: "text/csv" }));
      Object.assign(document.createElement("a"), { href: url, download: `${button.dataset.csv}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
  }
  document.body.append(Object.assign(document.createElement("script"), { textContent: await unpacked("plotly") }));
  for (const body of bodies) {
    const panel = new Panel(body, document.querySelector(`[data-panel="${body.name}"]`));
    panels.push(panel);
    await panel.draw(matchMedia("print").matches);
  }
  const scroll = remembered("scroll");
  if (scroll) {
    scrollTo(0, Number(scroll));
    remembered("scroll", "");
  }
  root.dataset.drawn = panels.length;
  follow();
})();
