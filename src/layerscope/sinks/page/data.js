// What the page holds: one JSON element a frame, read when the frame is chosen, and what frames have in common.

const byId = (id) => document.getElementById(id);
const run = JSON.parse(byId("run").textContent);
const frames = [...document.querySelectorAll("script[data-name]")];
const names = frames.map((frame) => frame.dataset.name);
const times = frames.map((frame) => (frame.dataset.time === undefined ? null : Number(frame.dataset.time)));
const pictures = frames.map((frame) => frame.dataset.picture);

// What is chosen. `channel` may be null; `zoom` is screen pixels to one of the picture's, 0 where it is fitted.
const state = { frame: 0, layer: "", kind: "", channel: null, zoom: 0, sort: "channel", falling: false, playing: false };

const recent = new Map();

function read(index) {
  if (!recent.has(index)) {
    if (recent.size >= 8) recent.delete(recent.keys().next().value);
    const frame = JSON.parse(frames[index].textContent);
    frame.layers = frame.layers.map((layer) => ({ ...run.layers[layer.at], ...layer }));
    recent.set(index, frame);
  }
  return recent.get(index);
}

const chosenLayer = () => read(state.frame).layers.find((layer) => layer.name === state.layer);
const address = (path) => path.split("/").map(encodeURIComponent).join("/");
const limit = (value, low, high) => Math.max(low, Math.min(high, value));

/** The channels of a layer, as objects. A column of equal numbers is written as one; equal ones are left out. */
function channels(layer) {
  if (layer.channels) return layer.channels;
  const at = (column, index) => (Array.isArray(column) ? column[index] : column);
  const [constant, infinite] = [new Set(layer.constant), new Set(layer.infinite)];
  layer.channels = Array.from({ length: layer.count }, (_, channel) => {
    const [low, high] = [at(layer.lows, channel), at(layer.highs, channel)];
    const flat = constant.has(channel) ? (low === 0 ? "dead" : "constant") : "";
    return {
      channel, low, high,
      range: low === null ? null : high - low,
      mean: at(layer.means, channel),
      zeros: at(layer.zeros, channel),
      black: at(layer.black ?? layer.lows, channel),
      white: at(layer.white ?? layer.highs, channel),
      mark: infinite.has(channel) ? "NaN/Inf" : flat,
    };
  });
  return layer.channels;
}

// Kinds of pictures in the order of the keys 1 to 9; a kind that is not named here comes before the input.
const TITLES = {
  sheets: "Sheet", tiles: "Tiles", overlays: "Overlay", reductions: "Reduction", video: "Video", webp: "Animation",
  input: "Input",
};

/** A kind's title; what holds all frames together may be named after what it shows: `video/sheets`, `webp/channel7`. */
function titleOf({ kind }) {
  const [first, shown] = kind.split("/");
  const title = TITLES[first] ?? first;
  if (shown === undefined) return title;
  return `${title}: ${TITLES[shown]?.toLowerCase() ?? shown.replace(/(?=\d+$)/, " ")}`;
}

function typeOf(path) {
  if (/\.(png|jpe?g|webp|gif|avif)$/i.test(path)) return "image";
  return /\.(mp4|m4v|webm|mov|mkv)$/i.test(path) ? "video" : "file";
}

/** What was written of the chosen frame's layer: kind, path within the run's folder, and how it is shown. */
function views(layer) {
  const { folder } = read(state.frame);
  const found = Object.entries(layer.files).map(([kind, path]) => ({ kind, path: `${folder}/${path}` }));
  if (layer.tiles) found.push({ kind: "tiles", path: `${folder}/${layer.tiles}`, type: "tiles" });
  for (const [kind, paths] of Object.entries(run.series)) {
    const path = paths[layer.name] ?? paths[""];
    if (path !== undefined) found.push({ kind, path });
  }
  if (pictures[state.frame]) found.push({ kind: "input", path: pictures[state.frame] });
  const order = Object.keys(TITLES);
  const place = ({ kind }) => (kind.split("/")[0] in TITLES ? order.indexOf(kind.split("/")[0]) : order.length - 1.5);
  return found.map((view) => ({ type: typeOf(view.path), ...view })).sort((a, b) => place(a) - place(b));
}

const tileAddress = (layer, channel) =>
  address(`${read(state.frame).folder}/${layer.tiles.replace("{channel}", channel)}`);
