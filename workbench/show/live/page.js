// The part of a report in which its model answers. All that the model says of itself is written as text.

const MOST_BARS = 10, MOST_VALUES = 12, MOST_LINES = 96, DRAWN = 64, MOST_LETTERS = 2000; // classes, numbers, lines of a raster; pixels a side; of a text
const SLOW = 2; // seconds: rows that take longer are asked at a click
const $ = (id) => document.getElementById(`live-${id}`);
const room = document.getElementById("live");

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : seen(child))));
  return made;
}

// What would turn the direction of writing, or has no width, is seen instead; as `workbench.words.visible` does.
function seen(words) {
  const short = words.length > MOST_LETTERS ? `${words.slice(0, MOST_LETTERS)}…` : words;
  return short.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) => `\\u${letter.codePointAt(0).toString(16).padStart(4, "0")}`);
}

const say = (id, words) => ($(id).textContent = seen(words));

const grouped = (count) => count.toLocaleString("en");
function text(value) {
  if (typeof value !== "number") return String(value);
  if (value === 0 || Math.abs(value) >= 1e-3) return Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  const [digits, power] = value.toExponential(1).split("e-");
  return `${Number(digits)}\u00a0×\u00a010⁻${Array.from(power, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}
const counted = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;

// --- the worker -----------------------------------------------------------------------------------------------------

let worker, calls, told;

function call(message) {
  return new Promise((resolve, reject) => {
    const id = calls.length;
    calls.push({ resolve, reject });
    worker.postMessage({ ...message, id });
  });
}

async function start() {
  say("state", "The model is being unpacked …");
  calls = [];
  worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" })));
  worker.onmessage = ({ data }) => (data.error ? calls[data.id].reject(new Error(data.error)) : calls[data.id].resolve(data));
  worker.onerror = (event) => calls.forEach(({ reject }) => reject(new Error(event.message || "this browser starts no worker")));
  const packed = Object.fromEntries(["library", "wasm", "model", "told"].map((part) => [part, $(part).textContent]));
  ({ told } = await call(packed));
  say("state", "");
}

// An endless model must not hold the reader: what takes long can be stopped.
let stopping;
function waiting(is) {
  clearTimeout(stopping);
  $("stop").hidden = true;
  if (is) stopping = setTimeout(() => ($("stop").hidden = false), 1000 * SLOW);
}
$("stop").onclick = async () => {
  worker.terminate();
  calls.forEach(({ reject }) => reject(new Error("stopped")));
  waiting(false);
  asking = asked = undefined;
  await start().catch(failed);
  say("state", "Stopped. Change the question, and it answers again.");
};

function failed(error) {
  say("state", `The model does not answer in this browser: ${error.message}.`);
}

// --- the question ---------------------------------------------------------------------------------------------------

let question = {}; // input: its numbers or texts, as a list
let shown = []; // what takes a question into its fields and pictures
let row = null; // the recorded row that the question is, as long as it is untouched
let asking, asked;

const feeds = (values) => told.inputs.map((input) => ({ ...input, ...(values[input.name].dtype ? values[input.name] : { data: values[input.name] }), dims: input.dims }));

async function ask() {
  asked = { values: row === null ? question : told.questions[row], row }; // the newest wins
  if (asking) return;
  while (asked) {
    const now = asked;
    asked = undefined;
    try {
      waiting(true);
      asking = call({ feeds: feeds(now.values), wanted: told.outputs.map((output) => output.name) });
      const answer = await asking;
      answered(answer, now.row);
      say("state", "");
    } catch (error) {
      if (error.message !== "stopped") say("state", `The model gave no answer to this: ${error.message}.`);
    }
    asking = undefined;
    waiting(false);
  }
}

function changed() {
  row = null;
  $("row").value = "";
  ask();
}

async function pick(values, recorded) {
  const decoded = await call({ decode: told.inputs.map((input) => values[input.name]) });
  told.inputs.forEach((input, place) => (question[input.name] = Array.from(decoded.values[place], (value) => (typeof value === "bigint" ? Number(value) : value))));
  row = recorded;
  shown.forEach((show) => show());
  ask();
}

function fields(input) {
  const list = el("div", { className: "live-fields" });
  input.fields.forEach((field, place) => {
    const id = `live-field-${input.name}-${place}`;
    const set = (value) => {
      question[input.name][place] = field.words ? value : field.whole ? Math.round(Number(value)) : value === "" ? NaN : Number(value);
      changed();
    };
    const line = el("div", {}, el("label", { htmlFor: id }, field.name));
    list.append(line);
    if (field.words) {
      const words = el("datalist", { id: `${id}-words` }, ...field.words.map((word) => el("option", { value: word })));
      const box = el("input", { id, oninput: () => set(box.value) });
      box.setAttribute("list", words.id);
      line.append(box, words);
      shown.push(() => (box.value = question[input.name][place]));
      return;
    }
    const step = field.whole ? 1 : Number(((field.high - field.low) / 100).toPrecision(1)) || "any";
    const box = el("input", { id, type: "number", step: field.whole ? 1 : "any", oninput: () => { slider.value = box.value; set(box.value); } });
    const slider = el("input", { type: "range", min: field.low, max: field.high, step, oninput: () => { box.value = slider.value; set(slider.value); } });
    slider.setAttribute("aria-label", seen(`${field.name}, from ${text(field.low)} to ${text(field.high)}`));
    line.append(...(field.high > field.low ? [slider] : [el("span")]), box);
    shown.push(() => {
      const value = question[input.name][place];
      slider.value = value;
      box.value = Number.isNaN(value) ? "" : Number(value.toPrecision(6));
    });
  });
  return list;
}

function picture(input) {
  const { width, height, channels, channels_first, dark } = input.picture;
  let { low, high } = input.picture;
  const canvas = el("canvas", { width, height, className: "live-canvas" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `What the model sees: ${width} by ${height} pixels`);
  const paper = canvas.getContext("2d", { willReadFrequently: true });
  const at = (pixel, channel) => (channels_first ? channel * width * height + pixel : pixel * channels + channel);
  let swapped = false;
  function show() {
    const pixels = paper.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let colour = 0; colour < 3; colour++) {
        const channel = channels === 3 ? (swapped ? 2 - colour : colour) : 0;
        pixels.data[4 * pixel + colour] = (255 * (question[input.name][at(pixel, channel)] - low)) / (high - low || 1);
      }
      pixels.data[4 * pixel + 3] = 255;
    }
    paper.putImageData(pixels, 0, 0);
  }
  function read() {
    const { data } = paper.getImageData(0, 0, width, height);
    const value = (share) => (input.dtype.includes("int") ? Math.round : Number)(low + (high - low) * share);
    for (let pixel = 0; pixel < width * height; pixel++) {
      const [red, green, blue] = data.subarray(4 * pixel, 4 * pixel + 3);
      const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
      for (let channel = 0; channel < channels; channel++) {
        const colour = channels === 3 ? [red, green, blue][swapped ? 2 - channel : channel] : grey;
        question[input.name][at(pixel, channel)] = value(colour / 255);
      }
    }
    changed();
  }
  shown.push(show);
  const tools = el("div", { className: "live-tools" });
  const button = (words, onclick) => el("button", { type: "button", onclick }, words);
  const drawn = channels === 1 && Math.max(width, height) <= DRAWN;
  if (drawn) {
    let from = null;
    const clear = () => { paper.fillStyle = dark ? "#000" : "#fff"; paper.fillRect(0, 0, width, height); };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
    };
    canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); if (row !== null) clear(); from = place(event); canvas.onpointermove(event); };
    canvas.onpointermove = (event) => {
      if (!from) return;
      const to = place(event);
      Object.assign(paper, { strokeStyle: dark ? "#fff" : "#000", lineWidth: width / 13, lineCap: "round", lineJoin: "round" });
      paper.beginPath();
      paper.moveTo(...from);
      paper.lineTo(...to);
      paper.stroke();
      from = to;
      read();
    };
    canvas.onpointerup = canvas.onpointercancel = () => (from = null);
    canvas.classList.add("live-drawn");
    tools.append(button("Clear", () => { clear(); read(); }));
  }
  if (channels === 1) tools.append(button("Invert", () => { question[input.name] = question[input.name].map((value) => low + high - value); show(); changed(); }));
  const scales = [[low, high], [0, 1], [0, 255], [-1, 1]].filter(([a, b], index, all) => all.findIndex(([c, d]) => a === c && b === d) === index);
  const scale = el("select", { onchange: () => { [low, high] = scales[scale.value]; read(); } }, ...scales.map(([a, b], index) => el("option", { value: index }, `${text(a)} to ${text(b)}${index ? "" : " (as in the rows)"}`)));
  tools.append(el("label", {}, "black to white is ", scale));
  if (channels === 3) {
    const order = el("select", { onchange: () => { swapped = order.value === "1"; read(); } }, el("option", { value: 0 }, "red, green, blue"), el("option", { value: 1 }, "blue, green, red"));
    tools.append(el("label", {}, "colours are ", order));
  }
  const take = async (file) => {
    const image = await createImageBitmap(file);
    paper.imageSmoothingQuality = "high";
    paper.drawImage(image, 0, 0, width, height);
    read();
    return `${file.name}, ${image.width} by ${image.height} pixels, brought to ${width} by ${height}.`;
  };
  return { face: el("div", {}, el("p", {}, drawn ? "Draw here, or open a picture:" : "Open a picture:"), canvas, tools), take };
}

// --- files ----------------------------------------------------------------------------------------------------------

function cells(line) {
  return Array.from(line.matchAll(/(?:^|[,;\t])(?:"((?:[^"]|"")*)"|([^,;\t]*))/g), ([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain).trim());
}

// Its rows join those that can be picked; columns go by name where the first line has names, else by their order.
function table(name, content) {
  const lines = content.replace(/^\ufeff/, "").split(/\r?\n/).filter((line) => line.trim()).map(cells);
  const columns = told.inputs.flatMap((input) => input.fields?.map((field) => field.name) ?? Array(input.size).fill(null));
  const kinds = told.inputs.flatMap((input) => Array(input.size).fill(input.dtype));
  const wanted = columns.map((column) => lines[0]?.findIndex((cell) => cell.toLowerCase() === column?.toLowerCase()));
  const named = wanted.every((place) => place >= 0);
  const body = named || lines[0]?.every((cell) => Number.isNaN(Number(cell))) ? lines.slice(1) : lines;
  const order = named ? wanted : columns.map((_, place) => place);
  if (!body.length) throw new Error("it holds no rows");
  if (!named && body[0].length !== columns.length) {
    const names = columns.length <= MOST_VALUES ? ` (${columns.map((column) => column ?? "number").join(", ")})` : "";
    throw new Error(`its rows have ${counted(body[0].length, "column")}, and the model takes ${columns.length}${names}`);
  }
  const rows = body.map((line, number) => {
    const flat = order.map((place, column) => {
      const cell = line[place] ?? "";
      if (kinds[column] === "string") return cell;
      const value = cell === "" ? NaN : Number(cell);
      if (Number.isNaN(value) && (cell !== "" || !kinds[column].startsWith("float"))) throw new Error(`row ${number + 1}, column ${columns[column] ?? column + 1}: ${JSON.stringify(cell)} is no number`);
      return value;
    });
    return Object.fromEntries(told.inputs.map((input) => [input.name, { dtype: input.dtype, data: flat.splice(0, input.size) }]));
  });
  const group = el("optgroup", { label: name });
  rows.forEach((values, index) => {
    const option = el("option", { value: `${name}-${index}` }, `row ${index + 1}`);
    option.values = values;
    group.append(option);
  });
  $("row").append(group);
  group.firstChild.selected = true;
  pick(rows[0], null);
  return `${name}: ${counted(rows.length, "row")}, to be picked above${named && lines[0].length > columns.length ? "; columns that the model does not take are left out" : ""}.`;
}

async function opened(file, takes) {
  try {
    const said = file.type.startsWith("image/") ? await (takes ?? (() => { throw new Error("this model takes no picture"); }))(file) : table(file.name, await file.text());
    say("said", said);
  } catch (error) {
    say("said", `${file.name} cannot be asked: ${error.message}.`);
  }
}

// --- the answer -----------------------------------------------------------------------------------------------------

const numbers = (data) => Array.from(data, (value) => (typeof value === "bigint" ? Number(value) : value));

function settled(output, { data, dims }) {
  if (!output.settled) return numbers(data);
  const width = dims[2], steps = dims[1];
  const mean = (place) => { let sum = 0; for (let step = 0; step < steps; step++) sum += data[step * width + place]; return sum / steps; };
  return Array.from({ length: width }, (_, place) => (output.settled === "last" ? data[(steps - 1) * width + place] : mean(place)));
}

const highest = (values) => values.reduce((best, value, place) => (value > values[best] ? place : best), 0);
const spoken = (output, value) => output.labels?.[value] ?? (output.float ? text(value) : String(value));

function bars(output, values) {
  const order = values.map((_, place) => place);
  const best = highest(values);
  if (values.length > MOST_VALUES) order.sort((a, b) => values[b] - values[a]);
  const longest = Math.max(...values.map(Math.abs)) || 1;
  const probable = values.every((value) => value >= 0 && value <= 1.0001);
  const lines = order.slice(0, values.length > MOST_VALUES ? MOST_BARS : undefined).map((place) => {
    const bar = el("span", { className: "wb-bar" });
    bar.style.width = `${(100 * Math.max(0, values[place])) / (probable ? 1 : longest)}%`;
    return el("tr", { className: place === best ? "live-best" : "" }, el("th", { scope: "row" }, output.classes[place]), el("td", {}, bar), el("td", {}, values[place].toFixed(probable ? 4 : 3)));
  });
  return el("table", {}, el("caption", {}, output.shown + (values.length > MOST_VALUES ? `, the highest ${MOST_BARS} of ${grouped(values.length)}` : "")), el("tbody", {}, ...lines));
}

function raster(output, { data, dims: [, steps, neurons] }) {
  const together = Math.ceil(neurons / MOST_LINES), lines = Math.ceil(neurons / together);
  const canvas = el("canvas", { width: steps, height: lines, className: "live-raster" });
  const pixels = new ImageData(steps, lines);
  const fired = new Uint32Array(steps * lines);
  let spikes = 0;
  data.forEach((value, place) => {
    if (value === 0) return;
    spikes++;
    fired[Math.floor((place % neurons) / together) * steps + Math.floor(place / neurons)]++;
  });
  const most = fired.reduce((most, count) => Math.max(most, count), 1);
  fired.forEach((count, place) => (pixels.data[4 * place + 3] = (255 * count) / most));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  const says = `${output.spikes}: ${counted(neurons, "neuron")}, ${counted(spikes, "spike")}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", seen(`Spikes over time of ${says}`));
  const lines_say = together > 1 ? `; each line is ${together} neurons, strongest where ${grouped(most)} of them fire at once` : "; a line for each";
  return el("figure", {}, el("figcaption", {}, el("b", {}, says), el("span", { className: "wb-fine" }, lines_say)), canvas);
}

function answered({ answers, seconds }, recorded) {
  const parts = [], spikes = [], singles = [];
  let best = null;
  told.outputs.forEach((output, place) => {
    const answer = answers[place];
    if (output.spikes) return spikes.push(raster(output, answer));
    const values = settled(output, answer);
    if (values.length === 1) return singles.push({ says: spoken(output, values[0]), of: output.shown, float: output.float });
    if (output.classes?.length === values.length) {
      best ??= { says: output.classes[highest(values)], of: `${output.shown}, the highest` };
      return parts.push(bars(output, values));
    }
    const some = values.slice(0, MOST_VALUES).map((value) => spoken(output, value)).join(", ");
    parts.push(el("p", {}, el("b", {}, output.shown), ` (${answer.dims.join(" × ")}): ${some}${values.length > MOST_VALUES ? ", …" : ""}`));
  });
  // A label is the answer; without one the highest score, or a number.
  const label = singles.find(({ float }) => !float) ?? best ?? singles[0];
  parts.push(...singles.filter((single) => single !== label).map(({ says, of }) => el("p", {}, el("b", {}, of), `: ${says}`)));
  say("label", label?.says ?? "");
  say("of", label ? `${label.of}; it took ${seconds < 0.1 ? `${text(1000 * seconds)} ms` : `${text(seconds)} s`}` : "");
  const same = recorded === null ? null : compared(answers, told.recorded[recorded]);
  say("recorded", same === null ? "" : `${told.runtime}, when this page was made: ${same.apart ? "another answer" : "the same"}${same.largest === null ? "" : `, largest difference ${text(same.largest)}`}.`);
  $("parts").replaceChildren(...parts);
  $("spikes").replaceChildren(...(spikes.length ? [el("h3", {}, `Spikes over ${told.spanned}`), ...spikes] : []));
  if (!checked && told.questions.length * seconds < SLOW) check();
  return seconds;
}

// --- the same as ONNX Runtime? --------------------------------------------------------------------------------------

let checked = false, decoded;

function compared(answers, recorded) {
  const { relative, absolute, steps = 0, step = 0, of_row = 0 } = told.tolerance;
  let largest = null, apart = false, spikes = 0, fired = 0, flipped = false;
  told.outputs.forEach((output, place) => {
    const ours = answers[place].data, theirs = recorded[place];
    if (output.spikes) {
      let count = 0;
      for (const value of ours) count += value !== 0;
      spikes += Math.abs(count - Number(theirs[0]));
      fired += Number(theirs[0]);
      return;
    }
    const float = output.float;
    const most = float ? theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0) : 0;
    if (ours.length !== theirs.length) apart = true;
    for (let at = 0; at < theirs.length; at++) {
      if (!float) {
        const small = steps && output.small && Math.abs(Number(ours[at]) - Number(theirs[at])) <= steps;
        if (ours[at] !== theirs[at] && !small) apart = flipped = true;
        continue;
      }
      if (Object.is(ours[at], theirs[at]) || ours[at] === theirs[at]) { largest ??= 0; continue; }
      const distance = Math.abs(ours[at] - theirs[at]);
      largest = Math.max(largest ?? 0, Number.isNaN(distance) ? Infinity : distance);
      if (!(distance <= absolute + steps * step + relative * Math.abs(theirs[at]) + of_row * most)) apart = true;
    }
    if (output.classes && float && highest(settled(output, answers[place])) !== highest(settled(output, { data: theirs, dims: answers[place].dims }))) flipped = true;
  });
  return { largest, apart, spikes, fired, flipped };
}

async function check() {
  checked = true;
  const says = $("checked"), again = $("check");
  again.disabled = true;
  let largest = null, apart = 0, spikes = 0, fired = 0, flipped = 0, done = 0;
  try {
    for (const [index, values] of told.questions.entries()) {
      say("checked", `Asking row ${index + 1} of ${told.questions.length} …`);
      const { answers } = await call({ feeds: feeds(values), wanted: told.outputs.map((output) => output.name) });
      const found = compared(answers, told.recorded[index]);
      if (found.largest !== null) largest = Math.max(largest ?? 0, found.largest);
      apart += found.apart;
      flipped += found.flipped;
      spikes += found.spikes;
      fired += found.fired;
      done++;
    }
    const { relative, absolute } = told.tolerance;
    const allowed = largest === null ? "" : ` The largest difference of two numbers is ${text(largest)}; allowed are ${text(absolute)} and ${text(relative)} of the number itself.`;
    const classes = told.outputs.some((output) => output.classes || !output.float) ? ` ${flipped ? `In ${counted(flipped, "row")} the class or a label is another one.` : "No class and no label is another one."}` : "";
    const counts = fired ? ` The layers' counts of spikes differ by ${grouped(spikes)} of ${grouped(fired)}.` : "";
    const verdict = apart ? `✗ ${counted(apart, "row")} of ${grouped(done)} differ from the answers` : `✓ ${counted(done, "row")} asked in this browser, with the answers`;
    say("checked", `${verdict} that ${told.runtime} gave when this page was made.${classes}${counts}${allowed}`);
    says.dataset.apart = apart;
    says.dataset.rows = done;
    says.dataset.largest = largest;
  } catch (error) {
    say("checked", `Row ${done + 1} was not answered: ${error.message}.`);
  }
  again.disabled = false;
}

// --- begin ----------------------------------------------------------------------------------------------------------

async function begin() {
  await start();
  const recorded = [];
  for (const answer of told.recorded) recorded.push((await call({ decode: told.outputs.map((output) => answer[output.name]) })).values);
  told.outputs.forEach((output) => {
    const { dtype } = told.recorded[0][output.name];
    output.float = dtype.startsWith("float");
    output.small = /^u?int(8|16)$/.test(dtype);
  });
  told.recorded = recorded;
  const steps = Math.max(...told.inputs.map((input) => input.dims[1] ?? 1));
  told.spanned = told.dt === null ? "" : `${counted(steps, "step")}, ${text(1000 * told.dt * steps)} ms`;
  const pictures = told.inputs.filter((input) => input.picture).map(picture);
  const plain = told.inputs.filter((input) => !input.picture && !input.fields);
  $("faces").append(
    ...pictures.map(({ face }) => face),
    ...told.inputs.filter((input) => input.fields).map(fields),
    ...plain.map((input) => el("p", {}, el("b", {}, input.name), ` (${input.dims.join(" × ")} ${input.dtype}) is as in the row.`)),
  );
  const rows = $("row");
  rows.append(el("option", { value: "", hidden: true }, "your own"), ...told.questions.map((_, index) => el("option", { value: index }, `row ${index + 1}`)));
  rows.onchange = () => (rows.selectedOptions[0].values ? pick(rows.selectedOptions[0].values, null) : pick(told.questions[rows.value], Number(rows.value)));
  const file = $("file");
  file.onchange = () => file.files[0] && opened(file.files[0], pictures[0]?.take).then(() => (file.value = ""));
  if (!pictures.length) file.accept = ".csv,.tsv,.txt";
  room.ondragover = (event) => { event.preventDefault(); room.classList.add("live-over"); };
  room.ondragleave = () => room.classList.remove("live-over");
  room.ondrop = (event) => { event.preventDefault(); room.classList.remove("live-over"); if (event.dataTransfer.files[0]) opened(event.dataTransfer.files[0], pictures[0]?.take); };
  $("notes").replaceChildren(...told.notes.map((note) => el("p", { className: "wb-fine" }, note)));
  const some = told.of_all > told.questions.length ? ` of ${grouped(told.of_all)}` : "";
  const again = $("check");
  again.textContent = `Ask ${counted(told.questions.length, "row")}${some} and compare with ${told.runtime}`;
  again.onclick = check;
  $("room").hidden = false;
  rows.value = "0";
  await pick(told.questions[0], 0);
}

begin().catch(failed);
