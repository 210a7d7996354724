// A moving figure: the curves of every slider position are in the page, this draws one of them.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = ["", "8 4", "2 3", "9 3 2 3"];
  const MARGIN = { left: 62, right: 24, top: 10, bottom: 44 };

  const html = (parent, name, attributes = {}, text = "") => fill(document.createElement(name), parent, attributes, text);
  const svg = (parent, name, attributes = {}, text = "") => fill(document.createElementNS(SVG, name), parent, attributes, text);
  function fill(node, parent, attributes, text) {
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return parent.appendChild(node);
  }
  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const short = (value) => (Number.isFinite(value) ? String(+value.toPrecision(3)).replace("-", "−") : "no value");
  // The place of a value along an axis, from 0 to 1.
  const place = ({ log, low, high }) => {
    const f = log ? Math.log : (v) => v;
    return (v) => (f(v) - f(low)) / (f(high) - f(low));
  };

  function start(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const x = floats(data.x), y = floats(data.y), n = x.length, m = data.labels.length;
    const along = place(data.xaxis), up = place(data.yaxis);
    root.querySelector("img").remove();
    root.dataset.live = "";

    const legend = html(root, "div", { class: "legend", role: "status" });
    const shown = data.labels.map((label, c) => {
      const entry = html(legend, "span");
      const sample = svg(entry, "svg", { width: 30, height: 10, "aria-hidden": "true" });
      svg(sample, "line", { x1: 0, x2: 30, y1: 5, y2: 5, class: `c${c}`, "stroke-dasharray": DASHES[c] });
      entry.append(` ${label} `);
      return html(entry, "b");
    });
    const plot = svg(root, "svg", { role: "img", "aria-label": data.alt });

    function slider(label, texts, position) {
      const row = html(root, "label");
      html(row, "span", {}, label);
      const input = html(row, "input", { type: "range", min: 0, max: texts.length - 1, step: 1, value: position });
      const output = html(row, "output");
      input.say = () => {
        output.textContent = texts[input.value];
        input.setAttribute("aria-valuetext", `${label} ${texts[input.value]}`);
      };
      input.addEventListener("input", () => { input.say(); draw(); });
      input.say();
      return input;
    }
    const knobs = data.sliders.map((s) => slider(s.label, s.texts, s.start));
    const reader = slider(`read at ${data.xaxis.name}`, [...x].map(short), data.read);

    function draw() {
      const width = Math.max(280, root.clientWidth), height = Math.round(Math.min(400, 150 + 0.32 * width));
      const inner = { width: width - MARGIN.left - MARGIN.right, bottom: height - MARGIN.bottom };
      const px = (v) => MARGIN.left + along(v) * inner.width;
      const py = (v) => inner.bottom - up(v) * (inner.bottom - MARGIN.top);
      plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
      plot.replaceChildren();

      let last = -Infinity;
      for (const [value, text] of data.xaxis.ticks) {
        const at = px(value);
        svg(plot, "line", { x1: at, x2: at, y1: MARGIN.top, y2: inner.bottom, class: "grid" });
        if (at - last < 44) continue;
        last = at;
        svg(plot, "text", { x: at, y: inner.bottom + 17, "text-anchor": "middle" }, text);
      }
      for (const [value, text] of data.yaxis.ticks) {
        const at = py(value);
        svg(plot, "line", { x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: at, y2: at, class: "grid" });
        svg(plot, "text", { x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" }, text);
      }
      const middle = (MARGIN.top + inner.bottom) / 2;
      svg(plot, "text", { x: MARGIN.left + inner.width / 2, y: height - 8, "text-anchor": "middle" }, data.xaxis.label);
      svg(plot, "text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, data.yaxis.label);

      const row = knobs.reduce((k, knob, i) => k * data.sliders[i].texts.length + +knob.value, 0);
      const at = +reader.value;
      svg(plot, "line", { x1: px(x[at]), x2: px(x[at]), y1: MARGIN.top, y2: inner.bottom, class: "marker" });
      for (let c = 0; c < m; c++) {
        const curve = y.subarray((row * m + c) * n, (row * m + c + 1) * n);
        let path = "", pen = "M";
        curve.forEach((value, i) => {
          if (Number.isFinite(value)) path += `${pen}${px(x[i]).toFixed(1)} ${py(value).toFixed(1)}`;
          pen = Number.isFinite(value) ? "L" : "M";
        });
        svg(plot, "path", { d: path, class: `c${c}`, "stroke-dasharray": DASHES[c] });
        if (Number.isFinite(curve[at])) svg(plot, "circle", { cx: px(x[at]), cy: py(curve[at]), r: 4, class: `c${c}` });
        shown[c].textContent = short(curve[at]);
      }
    }

    // A pointer on the plot moves the reading line, as its slider does.
    function follow(event) {
      const box = plot.getBoundingClientRect();
      const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
      let best = 0;
      x.forEach((v, i) => { if (Math.abs(along(v) - share) < Math.abs(along(x[best]) - share)) best = i; });
      reader.value = best;
      reader.say();
      draw();
    }
    plot.addEventListener("pointerdown", follow);
    plot.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse" || event.buttons) follow(event); });
    new ResizeObserver(draw).observe(root);
    draw();
  }
  document.querySelectorAll(".lindiff-explore:not([data-live])").forEach(start);
})();
