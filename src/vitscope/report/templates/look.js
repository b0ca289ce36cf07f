(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const unpack = async (text) => {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const w = data.words, [down, across] = data.grid, N = down * across;
  const viridis = bytes(data.viridis), diverging = bytes(data.diverging);
  const colour = (table, code) => `rgb(${table[3 * code]} ${table[3 * code + 1]} ${table[3 * code + 2]})`;
  const side = Math.max(3, Math.floor(288 / Math.max(down, across)));

  function sized(canvas, width, height) {
    const ratio = Math.max(1, Math.round(devicePixelRatio || 1));
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = width + "px"; canvas.style.aspectRatio = `${width} / ${height}`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio); pen.imageSmoothingEnabled = false;
    return pen;
  }
  const scratch = document.createElement("canvas"); scratch.width = across; scratch.height = down;
  const small_pen = scratch.getContext("2d"), dots = small_pen.createImageData(across, down);
  function cells(pen, codes, table, size, left = 0, top = 0) {  // drawn a pixel for a patch, then enlarged: a large model has 40,000 of them
    for (let patch = 0; patch < N; patch++) {
      const code = codes[patch];
      dots.data[4 * patch] = table[3 * code]; dots.data[4 * patch + 1] = table[3 * code + 1]; dots.data[4 * patch + 2] = table[3 * code + 2];
      dots.data[4 * patch + 3] = 255;
    }
    small_pen.putImageData(dots, 0, 0);
    pen.drawImage(scratch, left, top, across * size, down * size);
  }
  function outline(pen, patch) {
    if (patch < 0) return;
    const x = (patch % across) * side, y = Math.floor(patch / across) * side;
    pen.lineWidth = 3; pen.strokeStyle = "#000"; pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    pen.lineWidth = 1.5; pen.strokeStyle = "#fff"; pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
  }
  function legend(element, table, ticks, words) {
    element.replaceChildren();
    const box = document.createElement("div"); box.className = "ramp-box";
    const ramp = document.createElement("canvas"); ramp.className = "ramp"; ramp.width = 256; ramp.height = 1;
    const pen = ramp.getContext("2d");
    for (let code = 0; code < 256; code++) { pen.fillStyle = colour(table, code); pen.fillRect(code, 0, 1, 1); }
    const row = document.createElement("div"); row.className = "ramp-ticks";
    for (const tick of ticks) { const span = document.createElement("span"); span.textContent = tick; row.append(span); }
    box.append(ramp, row);
    const says = document.createElement("span"); says.textContent = words;
    element.append(box, says);
  }
  const short = (value) => value === 0 ? "0" : value >= 0.0995 ? value.toFixed(2) : value.toPrecision(1).includes("e") ? value.toExponential(0) : value.toPrecision(2);

  if (at("lens") && data.lens) {
    const codes = await unpack(data.lens.codes), pen = sized(at("lens"), across * side, down * side), range = at("depth");
    const draw = () => {
      const block = Number(range.value);
      cells(pen, codes.subarray(block * N, (block + 1) * N), viridis, side);
      at("depth-says").textContent = `${block}`;
    };
    range.addEventListener("input", draw); draw();
    legend(at("lens-legend"), viridis, ["0", short(data.lens.top / 2), short(data.lens.top)], w.probability);
  }
  if (!data.attention) return;

  const maps = await unpack(data.attention), T = data.tokens, L = data.layers, K = data.heads;
  const alike = data.cosines ? await unpack(data.cosines) : null;
  const share = (code) => data.top * (code / 255) ** 2;
  const state = { layer: L - 1, head: K > 1 ? K : 0, token: data.start, held: false };
  const who = (token) => {
    const patch = data.patchOfToken[token];
    if (patch >= 0) return fill(w.patch_at, { row: Math.floor(patch / across) + 1, column: (patch % across) + 1 });
    return token === data.classToken ? w.class_token : fill(w.extra_token, { number: token });
  };
  function row(layer, head, token) {  // codes of a token's row over all tokens; head K is the mean
    const from = (k) => ((layer * K + k) * T + token) * T;
    if (head < K) return maps.subarray(from(head), from(head) + T);
    const mean = new Uint8Array(T);
    for (let u = 0; u < T; u++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += share(maps[from(k) + u]);
      mean[u] = Math.round(255 * Math.sqrt(sum / K / data.top));
    }
    return mean;
  }
  const overPatches = (codes) => data.tokenOfPatch.map((token) => codes[token]);

  for (let layer = 0; layer < L; layer++) at("layer").add(new Option(layer, layer));
  for (let head = 0; head < K; head++) at("head").add(new Option(data.mean ? w.mean_of_heads : head, head));
  if (K > 1) at("head").add(new Option(w.mean_of_heads, K));
  const columns = K > 1 ? K + 1 : 1, gap = 4;
  const small = Math.max(1, Math.min(8, Math.floor((660 / columns - gap) / across)));
  const tile = [across * small + gap, down * small + gap];
  const picker = at("picker"), picture = sized(picker, across * side, down * side);
  const map = sized(at("map"), across * side, down * side);
  const overview = sized(at("overview"), columns * tile[0], L * tile[1]);
  const likeness = alike && at("alike") ? sized(at("alike"), across * side, down * side) : null;
  const image = new Image(); image.src = data.image; await image.decode();
  legend(at("legend"), viridis, ["0", short(data.top / 4), short(data.top)], `${w.scale}${w.stop}${w.gap}${w.rounding}`);
  if (likeness) legend(at("alike-legend"), diverging, ["-1", "0", "1"], w.cosine);
  for (const token of data.extras) {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = who(token); button.dataset.token = token;
    button.addEventListener("click", () => { state.token = token; state.held = true; draw(); });
    at("extras").append(button);
  }

  function draw() {
    at("layer").value = state.layer; at("head").value = state.head;
    const patch = data.patchOfToken[state.token], codes = row(state.layer, state.head, state.token);
    picture.drawImage(image, 0, 0, across * side, down * side);
    picture.strokeStyle = "rgb(255 255 255 / .28)"; picture.lineWidth = 1;
    for (let i = 1; i < across; i++) { picture.beginPath(); picture.moveTo(i * side, 0); picture.lineTo(i * side, down * side); picture.stroke(); }
    for (let i = 1; i < down; i++) { picture.beginPath(); picture.moveTo(0, i * side); picture.lineTo(across * side, i * side); picture.stroke(); }
    outline(picture, patch);
    cells(map, overPatches(codes), viridis, side); outline(map, patch);
    if (likeness) {
      const shown = patch >= 0 ? patch : 0;
      cells(likeness, alike.subarray(shown * N, (shown + 1) * N), diverging, side); outline(likeness, shown);
      at("alike-says").textContent = `${w.likeness_of} ${who(data.tokenOfPatch[shown])}`;
    }
    overview.clearRect(0, 0, columns * tile[0], L * tile[1]);
    for (let layer = 0; layer < L; layer++) for (let head = 0; head < columns; head++) {
      cells(overview, overPatches(row(layer, head, state.token)), viridis, small, head * tile[0] + gap / 2, layer * tile[1] + gap / 2);
      if (layer === state.layer && head === state.head) {
        overview.strokeStyle = "#e8590c"; overview.lineWidth = 2;
        overview.strokeRect(head * tile[0] + 1, layer * tile[1] + 1, tile[0] - 2, tile[1] - 2);
      }
    }
    for (const button of at("extras").children) button.setAttribute("aria-pressed", String(Number(button.dataset.token) === state.token));
    let all = 0, patches = 0, best = 0;
    for (let u = 0; u < T; u++) {
      all += share(codes[u]); if (data.patchOfToken[u] >= 0) patches += share(codes[u]);
      if (codes[u] > codes[best]) best = u;
    }
    const percent = (value) => (100 * value / (all || 1)).toFixed(0);
    at("says").textContent = fill(data.extras.length ? w.takes : w.takes_patches, {
      who: who(state.token), patches: percent(patches), extra: percent(all - patches), best: who(best), share: (100 * share(codes[best])).toFixed(0),
    });
  }
  const patchUnder = (event) => {
    const box = picker.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * across), y = Math.floor((event.clientY - box.top) / box.height * down);
    return Math.min(Math.max(y, 0), down - 1) * across + Math.min(Math.max(x, 0), across - 1);
  };
  picker.addEventListener("pointermove", (event) => {
    const token = data.tokenOfPatch[patchUnder(event)];
    if (!state.held && token !== state.token) { state.token = token; draw(); }
  });
  picker.addEventListener("click", (event) => {
    const token = data.tokenOfPatch[patchUnder(event)];
    state.held = !(state.held && token === state.token); state.token = token; draw();
  });
  picker.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const patch = data.patchOfToken[state.token], next = (patch < 0 ? 0 : patch + step);
    if (next < 0 || next >= N || (Math.abs(step) === 1 && patch >= 0 && Math.floor(next / across) !== Math.floor(patch / across))) return;
    state.token = data.tokenOfPatch[next]; state.held = true; draw();
  });
  at("overview").addEventListener("click", (event) => {
    const box = at("overview").getBoundingClientRect();
    state.head = Math.min(columns - 1, Math.floor((event.clientX - box.left) / box.width * columns));
    state.layer = Math.min(L - 1, Math.floor((event.clientY - box.top) / box.height * L)); draw();
  });
  at("layer").addEventListener("change", () => { state.layer = Number(at("layer").value); draw(); });
  at("head").addEventListener("change", () => { state.head = Number(at("head").value); draw(); });
  draw();
})();
