// What people do: every change of what is chosen goes through show().

function show(change) {
  const before = { ...state };
  Object.assign(state, change);
  if (state.layer !== before.layer && !("channel" in change)) state.channel = null;
  drawFrames(state.frame !== before.frame);
  drawInput();
  drawLayers(state.layer !== before.layer);
  drawChannels(state.channel !== before.channel);
  writeAddress();
  return drawStage();
}

function stepFrame(by, around = false) {
  const count = shownFrames.length;
  const before = shownFrames.filter((index) => index < state.frame).length;
  const next = before + by - (shownFrames[before] !== state.frame && by > 0 ? 1 : 0);
  return show({ frame: shownFrames[around && next >= count ? 0 : limit(next, 0, count - 1)] ?? state.frame });
}

const stepIn = (list, value, by) => list[limit(list.indexOf(value) + by, 0, list.length - 1)] ?? value;
const stepLayer = (by) => show({ layer: stepIn(shownLayers.map(({ name }) => name), state.layer, by) });
const stepChannel = (by) => show({ channel: stepIn(sorted.map(({ channel }) => channel), state.channel, by) });

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
let plays = 0;

/** Step through the frames at the pace of their times, or two a second; no faster than pictures load. */
async function play() {
  const turn = ++plays;
  state.playing = !state.playing;
  byId("play").ariaPressed = state.playing;
  while (state.playing && turn === plays) {
    const [begun, before] = [performance.now(), times[state.frame]];
    await stepFrame(1, true);
    const apart = before === null || times[state.frame] === null ? 0 : times[state.frame] - before;
    await wait(limit(apart > 0 ? apart * 1000 : 500, 20, 1000) - (performance.now() - begun));
  }
}

// The address holds what is chosen, so that it can be passed on.

let writing;

function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const { layer, kind, channel } = state;
    const parts = { frame: names[state.frame], layer, ...(kind && { kind }), ...(channel !== null && { channel }) };
    history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
  }, 250);
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const frame = Math.max(0, names.indexOf(wanted.get("frame")));
  const layer = wanted.get("layer") ?? read(frame).layers[0]?.name ?? "";
  const channel = wanted.has("channel") ? Number(wanted.get("channel")) : null;
  return show({ frame, layer, kind: wanted.get("kind") ?? state.kind, channel });
}

// Keys.

const help = byId("help");
const search = (id) => byId(id).querySelector("input").focus();
const steps = new Map([[frameBox, stepFrame], [layerBox, stepLayer], [byId("table"), stepChannel]]);
const stepHere = (by) => (steps.get(document.activeElement) ?? stepLayer)(by);

const KEYS = {
  ArrowLeft: () => stepFrame(-1), ArrowRight: () => stepFrame(1),
  ArrowUp: () => stepHere(-1), ArrowDown: () => stepHere(1),
  Home: () => stepHere(-Infinity), End: () => stepHere(Infinity),
  k: () => stepLayer(-1), j: () => stepLayer(1),
  ",": () => stepChannel(-1), ".": () => stepChannel(1),
  z: () => zoomBy("other"), "+": () => zoomBy("larger"), "=": () => zoomBy("larger"), "-": () => zoomBy("smaller"),
  "/": () => search(frames.length > 1 ? "frames" : "layers"), l: () => search("layers"),
  " ": play, "?": () => help.showModal(),
};

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (target.matches("input[type=search]")) {
    if (key === "Escape" || key === "Enter") target.parentElement.querySelector(".list").focus();
    return;
  }
  if (target.matches("input, video") && /^(Arrow|Home|End| )/.test(key)) return;
  if (target.matches("button, summary, a") && key === " ") return;
  const view = /^[1-9]$/.test(key) ? byId("views").children[key - 1] : null;
  const action = view ? () => view.click() : KEYS[key];
  if (!action) return;
  event.preventDefault();
  action();
});

// The pointer.

function onChoice(box, change) {
  box.addEventListener("click", (event) => {
    const row = event.target.closest("[data-value]");
    if (row) show(change(row.dataset.value));
  });
}

onChoice(frameBox, (value) => ({ frame: Number(value) }));
onChoice(layerBox, (value) => ({ layer: value }));
onChoice(byId("rows"), (value) => ({ channel: Number(value) }));
onChoice(stage, (value) => ({ channel: Number(value) }));
onChoice(byId("views"), (value) => ({ kind: value, zoom: 0 }));
onChoice(byId("columns"), (value) => ({
  sort: value, falling: value === state.sort ? !state.falling : value !== "channel",
}));
byId("zoom").addEventListener("click", (event) => zoomBy(event.target.dataset.zoom));
byId("back").addEventListener("click", () => stepFrame(-1));
byId("next").addEventListener("click", () => stepFrame(1));
byId("play").addEventListener("click", play);
byId("help-open").addEventListener("click", () => help.showModal());
help.querySelector("button").addEventListener("click", () => help.close());
byId("slider").addEventListener("input", (event) => show({ frame: shownFrames[event.target.value] }));
byId("layers").querySelector("input").addEventListener("input", () => drawLayers(true));
byId("frames").querySelector("input").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  shownFrames = [...names.keys()].filter((index) => names[index].toLowerCase().includes(wanted));
  drawFrames(true);
});

let dragged = false;
stage.addEventListener("pointerdown", () => { dragged = false; });
stage.addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse" || event.buttons !== 1 || !event.target.matches(".picture")) return;
  stage.scrollBy(-event.movementX, -event.movementY);
  dragged ||= Math.abs(event.movementX) + Math.abs(event.movementY) > 2;
});
stage.addEventListener("click", (event) => {
  if (dragged || !event.target.matches(".picture")) return;
  const { left, top } = stage.getBoundingClientRect();
  zoomBy("other", event.clientX - left, event.clientY - top);
});
new ResizeObserver(drawZoom).observe(stage);

// Small pictures that are not there; these events do not bubble, but can be caught on their way down.
for (const type of ["load", "error"]) {
  document.addEventListener(type, ({ target }) => {
    if (target instanceof HTMLImageElement) target.parentElement?.classList.toggle("gone", type === "error");
  }, true);
}

// Begin.

for (const [name, title] of Object.entries(COLUMNS)) {
  const button = element("button", { type: "button", title: `Sort by ${title}` }, title, element("i"));
  byId("columns").append(element("div", { role: "columnheader", "data-value": name }, button));
}

if (frames.length) {
  byId("transport").hidden = byId("frames").hidden = frames.length === 1;
  byId("frames").classList.toggle("pictured", pictures.some(Boolean));
  byId("layers").querySelector("input").hidden = read(0).layers.length < 10;
  addEventListener("hashchange", readAddress);
  readAddress();
} else {
  say("This run has no frames.");
}
