// The stage: one kind of picture of the chosen layer. What it shows stays until the next one is there.

const stage = byId("stage");
let drawings = 0;

async function drawStage() {
  const turn = ++drawings;
  const layer = chosenLayer();
  const found = layer ? views(layer) : [];
  const shown = found.filter((view) => view.type !== "file");
  const view = shown.find(({ kind }) => kind === state.kind) ?? shown[0];
  drawTitle(layer, view);
  drawViews(shown, view);
  drawFiles(found.filter(({ type }) => type === "file"));
  if (!layer) return say(`${names[state.frame]} has no layer ${state.layer}.`);
  if (!view) return say("This run wrote no pictures of this layer.");
  if (view.type === "tiles") return drawTiles(layer);
  if (view.type === "video") return drawVideo(view.path);
  if (stage.firstElementChild?.getAttribute("src") === address(view.path)) return drawZoom();
  const image = element("img", { className: "picture", src: address(view.path), draggable: false });
  image.alt = `${titleOf(view)} of ${layer.name}, ${names[state.frame]}`;
  const whole = await image.decode().then(() => true, () => false);
  if (turn !== drawings) return null;
  if (!whole) return say(`${view.path} is not there, or is no picture.`);
  const { scrollLeft, scrollTop } = stage;
  stage.replaceChildren(image);
  drawZoom();
  return stage.scrollTo(scrollLeft, scrollTop);
}

function say(words) {
  stage.replaceChildren(element("p", { className: "message" }, words));
  drawZoom();
}

function drawTitle(layer, view) {
  const [title, about] = byId("title").children;
  title.textContent = state.layer;
  about.textContent = layer ? aboutLayer(layer) : "";
  if (!state.playing) byId("status").textContent = [names[state.frame], state.layer, view && titleOf(view)].join(", ");
}

function aboutLayer({ kind, shape, cells, count, dtype, apart }) {
  const size = cells?.join(" × ");
  const grid = `tokens on a grid of ${size}${apart ? `, ${apart} apart` : ""}`;
  if (!count) return `${shape.join(" × ")}, ${dtype}: cannot be drawn`;
  if (kind === "numbers") return `${count} numbers, ${dtype}`;
  return `${count} channels of ${kind === "tokens" ? grid : size}, ${dtype}`;
}

function drawViews(shown, chosen) {
  const group = byId("views");
  const kinds = shown.map(({ kind }) => kind).join();
  if (group.dataset.kinds !== kinds) {
    group.dataset.kinds = kinds;
    group.replaceChildren(...shown.map((view, place) => {
      const key = element("kbd", { ariaHidden: true }, place + 1);
      return element("button", { type: "button", "data-value": view.kind }, titleOf(view), key);
    }));
  }
  for (const button of group.children) button.ariaPressed = button.dataset.value === chosen.kind;
}

function drawFiles(files) {
  byId("files").replaceChildren(...files.map(({ kind, path }) =>
    element("a", { href: address(path), title: path, target: "_blank" }, kind)));
}

function drawTiles(layer) {
  let grid = stage.firstElementChild;
  if (grid?.dataset.layer !== String(layer.at)) {
    grid = element("div", { className: "tiles", "data-layer": layer.at }, ...channels(layer).map(({ channel }) =>
      element("button", { type: "button", "data-value": channel },
        element("img", { alt: "", loading: "lazy", decoding: "async" }), channel)));
    const [height, width] = layer.cells?.slice(-2) ?? [1, 1];
    grid.style.setProperty("--aspect", limit(width / height, 0.25, 4));
    stage.replaceChildren(grid);
    drawZoom();
  }
  for (const [channel, tile] of [...grid.children].entries()) {
    const { mark } = channels(layer)[channel];
    tile.ariaLabel = `Channel ${channel} ${mark}`;
    tile.ariaPressed = channel === state.channel;
    const image = tile.firstElementChild;
    if (image.getAttribute("src") !== tileAddress(layer, channel)) image.src = tileAddress(layer, channel);
  }
  const chosen = grid.children[state.channel ?? -1];
  if (chosen && grid.dataset.chosen !== String(state.channel)) {
    bringIntoView(stage, chosen.offsetTop, chosen.offsetTop + chosen.offsetHeight);
  }
  grid.dataset.chosen = state.channel;
}

/** Show the video of all frames, at the chosen one; where it plays or is moved, the chosen frame follows it. */
function drawVideo(path) {
  let video = stage.firstElementChild;
  if (video?.getAttribute("src") !== address(path)) {
    video = element("video", { src: address(path), controls: true, loop: true, muted: true, playsInline: true });
    video.addEventListener("error", () => say(`${path} is not there, or cannot be played here.`));
    video.addEventListener("loadedmetadata", seek);
    video.addEventListener("timeupdate", () => {
      const frame = limit(Math.floor((video.currentTime / video.duration) * frames.length), 0, frames.length - 1);
      if (video.isConnected && frame !== state.frame) show({ frame });
    });
    stage.replaceChildren(video);
    drawZoom();
  }
  seek();
  function seek() {
    const apart = video.duration / frames.length;
    const wanted = (state.frame + 0.5) * apart;
    if (video.paused && Math.abs(video.currentTime - wanted) > apart / 2) video.currentTime = wanted;
  }
}

// Zoom. Small maps are enlarged by whole numbers, so that cells stay square.

const BORDER_PX = 12;

function zoomOf(image) {
  const [width, height] = [stage.clientWidth - 2 * BORDER_PX, stage.clientHeight - 2 * BORDER_PX];
  const fit = Math.min(width / image.naturalWidth, height / image.naturalHeight);
  return state.zoom || (fit >= 2 ? Math.floor(fit) : fit);
}

function drawZoom() {
  const image = stage.querySelector(".picture");
  byId("zoom").hidden = !image;
  stage.classList.toggle("fit", Boolean(image) && !state.zoom);
  if (!image) return;
  const zoom = zoomOf(image);
  image.style.width = `${image.naturalWidth * zoom}px`;
  image.classList.toggle("smooth", !Number.isInteger(zoom));
  byId("zoom").querySelector("output").textContent = `${Math.round(zoom * 100)} %`;
}

/** Zoom so that the point under (x, y), in pixels of the stage, stays where it is. */
function zoomBy(how, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const image = stage.querySelector(".picture");
  if (!image) return;
  const now = zoomOf(image);
  const sizes = { larger: Math.min(now * 2, 32), smaller: Math.max(now / 2, 0.125), whole: 1, fit: 0 };
  const [picture, view] = [image.getBoundingClientRect(), stage.getBoundingClientRect()];
  const across = (view.left + x - picture.left) / picture.width;
  const down = (view.top + y - picture.top) / picture.height;
  state.zoom = sizes[how] ?? (state.zoom ? 0 : now < 1 ? 1 : now * 2);
  drawZoom();
  stage.scrollTo(across * image.clientWidth + BORDER_PX - x, down * image.clientHeight + BORDER_PX - y);
}
