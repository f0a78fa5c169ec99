// The lists beside the picture: frames, layers, and the numbers of the channels.

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const numeral = (value) => (value === null ? "–" : String(value).replace("-", "−"));
const seconds = (time) => `${time.toFixed(2)} s`;
const percent = (share) => (share > 0 && share < 0.001 ? "<0.1 %" : `${Number((share * 100).toFixed(1))} %`);
const markOf = (mark, words) => element("span", { className: mark === "NaN/Inf" ? "mark bad" : "mark" }, words);
const tally = (shown, all) => (shown === all ? `${all}` : `${shown} of ${all}`);

/** Scroll a box, and nothing around it, as far as it takes to see what lies in it from top to bottom, pixels. */
function bringIntoView(box, top, bottom) {
  if (top < box.scrollTop) box.scrollTop = top;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}

/** Draw only those rows of a list that can be seen, so that many thousands scroll; all rows are of one height. */
function longList(box, body, make) {
  let count = 0;
  const rowHeight = () => body.firstElementChild?.offsetHeight || 40;
  function draw() {
    const height = rowHeight();
    const first = limit(Math.floor(box.scrollTop / height) - 4, 0, count);
    const last = limit(first + Math.ceil(box.clientHeight / height) + 10, 0, count);
    const rows = Array.from({ length: last - first }, (_, place) => make(first + place));
    body.style.paddingTop = `${first * height}px`;
    body.style.paddingBottom = `${(count - last) * height}px`;
    body.replaceChildren(...rows);
    const chosen = rows.find((row) => row.ariaSelected === "true");
    if (chosen) box.setAttribute("aria-activedescendant", chosen.id);
    else box.removeAttribute("aria-activedescendant");
  }
  box.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(draw).observe(box);
  /** Draw so many rows, and bring one of them into view; none for a place below 0. */
  return (length, place) => {
    count = length;
    draw();
    if (place < 0) return;
    const top = place * rowHeight();
    bringIntoView(box, top, top + rowHeight() + body.offsetTop);
    draw();
  };
}

// Frames.

const frameBox = byId("frames").querySelector(".list");
let shownFrames = [...names.keys()];

const listFrames = longList(frameBox, frameBox.firstElementChild, (place) => {
  const index = shownFrames[place];
  const row = {
    className: "row", id: `frame-${index}`, title: names[index], role: "option", "data-value": index,
    ariaSelected: index === state.frame, ariaPosInSet: place + 1, ariaSetSize: shownFrames.length,
  };
  return element("div", row,
    pictures[index] ? element("img", { src: address(pictures[index]), alt: "", decoding: "async" }) : null,
    element("span", { className: "name" }, names[index]),
    times[index] === null ? null : element("span", { className: "time" }, seconds(times[index])));
});

function drawFrames(reveal) {
  const place = shownFrames.indexOf(state.frame);
  byId("frames").querySelector("h2 span").textContent = tally(shownFrames.length, frames.length);
  listFrames(shownFrames.length, reveal ? place : -1);
  const time = times[state.frame] === null ? "" : seconds(times[state.frame]);
  const slider = byId("slider");
  slider.max = Math.max(0, shownFrames.length - 1);
  slider.disabled = shownFrames.length < 2;
  slider.value = Math.max(0, place);
  slider.ariaValueText = `${names[state.frame]} ${time}`;
  byId("place").textContent = `${place < 0 ? "–" : place + 1} / ${shownFrames.length}${time && ` · ${time}`}`;
}

function drawInput() {
  const { file, size, outputs } = read(state.frame);
  const [image, caption] = byId("input").children;
  image.hidden = !pictures[state.frame];
  if (pictures[state.frame]) image.src = address(pictures[state.frame]);
  const shapes = outputs.map((shape) => shape.join("×")).join(", ");
  const about = [file, `${size[1]} px wide, ${size[0]} high`, shapes && `outputs ${shapes}`];
  caption.replaceChildren(
    element("b", {}, names[state.frame]), ...about.filter(Boolean).map((words) => element("span", {}, words)));
}

// Layers.

const layerBox = byId("layers").querySelector(".list");
let shownLayers = [];

const listLayers = longList(layerBox, layerBox.firstElementChild, (place) => {
  const layer = shownLayers[place];
  const row = {
    className: "row", id: `layer-${place}`, title: layer.name, role: "option", "data-value": layer.name,
    ariaSelected: layer.name === state.layer, ariaPosInSet: place + 1, ariaSetSize: shownLayers.length,
  };
  const counts = new Map();
  for (const { mark } of channels(layer)) if (mark) counts.set(mark, (counts.get(mark) ?? 0) + 1);
  const marks = [...counts].map(([mark, count]) => markOf(mark, `${count} ${mark}`));
  const range = layer.min === null ? "" : `${numeral(layer.min)} to ${numeral(layer.max)}`;
  return element("div", row,
    element("span", { className: "title" }, element("span", { className: "name" }, layer.name), ...marks),
    element("span", { className: "about" }, layer.shape.join(" × "), element("span", {}, range)));
});

function drawLayers(reveal) {
  const { layers, silent } = read(state.frame);
  const wanted = byId("layers").querySelector("input").value.toLowerCase();
  shownLayers = layers.filter((layer) => layer.name.toLowerCase().includes(wanted));
  byId("layers").querySelector("h2 span").textContent = tally(shownLayers.length, layers.length);
  byId("silent").textContent = silent.length ? `Gave nothing: ${silent.join(", ")}` : "";
  listLayers(shownLayers.length, reveal ? shownLayers.findIndex((layer) => layer.name === state.layer) : -1);
}

// Channels.

const COLUMNS = { channel: "ch", range: "range", low: "min", high: "max", mean: "mean", zeros: "zeros", mark: "marks" };
let sorted = [];
let layerRange = [0, 0];

/** Draw where a channel's values lie in the range of its layer: a bar from min to max, a tick at the mean. */
function rangeBar({ low, range, mean }) {
  const [least, most] = layerRange;
  const cell = element("span", { className: "range", role: "gridcell" });
  if (low === null || most <= least) return cell;
  const along = (value) => `${(100 * value) / (most - least)}%`;
  const [bar, tick] = [element("i"), element("i")];
  bar.style.left = along(low - least);
  bar.style.width = along(range);
  tick.style.left = along(mean - least);
  cell.append(bar, tick);
  return cell;
}

const listChannels = longList(byId("table"), byId("rows"), (place) => {
  const numbers = sorted[place];
  const { channel, low, high, mean, zeros, mark } = numbers;
  const cell = (content) => element("span", { role: "gridcell" }, content);
  const row = {
    className: "numbers", id: `channel-${channel}`, role: "row", "data-value": channel,
    ariaRowIndex: place + 2, ariaSelected: channel === state.channel,
  };
  return element("div", row, cell(channel), rangeBar(numbers),
    ...[low, high, mean].map((value) => cell(numeral(value))), cell(percent(zeros)), cell(mark && markOf(mark, mark)));
});

function compare(a, b) {
  const [left, right] = [a[state.sort], b[state.sort]];
  if (left === null || right === null) return (left === null) - (right === null);
  const order = (left > right) - (left < right);
  return (state.falling ? -order : order) || a.channel - b.channel;
}

function drawChannels(reveal) {
  const layer = chosenLayer();
  sorted = layer ? [...channels(layer)].sort(compare) : [];
  layerRange = [layer?.min, layer?.max];
  byId("table").hidden = !sorted.length;
  byId("table").ariaRowCount = sorted.length + 1;
  for (const column of byId("columns").children) {
    const chosen = column.dataset.value === state.sort;
    column.ariaSort = chosen ? (state.falling ? "descending" : "ascending") : "none";
    column.querySelector("i").textContent = chosen ? (state.falling ? "↓" : "↑") : "";
  }
  const place = sorted.findIndex(({ channel }) => channel === state.channel);
  listChannels(sorted.length, reveal ? place : -1);
  drawChannel(layer, sorted[place]);
}

function drawChannel(layer, numbers) {
  const box = byId("channel");
  if (!numbers) {
    const choose = `Choose a channel to see its numbers${layer?.tiles ? " and its tile" : ""}.`;
    return box.replaceChildren(element("p", {}, sorted.length ? choose : "There are no numbers of channels here."));
  }
  const facts = {
    min: numeral(numbers.low), max: numeral(numbers.high), mean: numeral(numbers.mean), zeros: percent(numbers.zeros),
    "black is": numeral(numbers.black), "white is": numeral(numbers.white),
  };
  const title = element("h2", {}, `Channel ${numbers.channel} `, numbers.mark && markOf(numbers.mark, numbers.mark));
  const rows = Object.entries(facts).map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  const tile = box.querySelector("img") ?? element("img");
  tile.alt = `Channel ${numbers.channel} of ${layer.name}`;
  if (layer.tiles) tile.src = tileAddress(layer, numbers.channel);
  return box.replaceChildren(...(layer.tiles ? [tile] : []), element("div", {}, title, element("dl", {}, ...rows)));
}
