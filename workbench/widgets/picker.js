// The file picker's face. What a folder holds, what is opened and where uploads go is decided in picker.py;
// names come from the disk, so they are only ever set as text.

const CHUNK = 1 << 22; // a message must stay below the server's websocket limit (10 MB)

// Two letters for a model's format, as for the elements; a drawing for the rest.
const LETTERS = {
  ONNX: "On", ORT: "Or", "Keras v3": "Ke", "Keras HDF5": "Ke", "Keras weights": "Ke", "Keras JSON": "Ke", NIR: "Ni",
  SavedModel: "Tf", GraphDef: "Tf", TFLite: "Tl", skops: "Sk", pickle: "Pk", joblib: "Jl", PyTorch: "Pt",
  safetensors: "St", GGUF: "Gg", "Core ML": "Cm", "MXNet params": "Mx", "MXNet symbol": "Mx", Caffe: "Ca",
  Caffe2: "C2", XGBoost: "Xg", LightGBM: "Lg", PMML: "Pm", HDF5: "H5", "zip archive": "Zi",
};
const SHAPES = {
  folder: "M1.5 13V3.5h4.7l1.6 2h6.7V13z",
  up: "M8 13V3.5M4 7.5l4-4 4 4",
  rows: "M2 3h12v10H2zM2 6.3h12M2 9.6h12M6.5 3v10",
  picture: "M2 3h12v10H2zM2 11l3.7-4 3 3.2 2-1.9L14 11.5M10.5 5.6h.1",
  page: "M4 2h5.5L12.5 5v9H4zM9.5 2v3h3",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7L13 5.7M13 2.5v3.2H9.8",
};

// Control characters as dots: some turn a name round, so that what runs code looks like a picture.
const visible = (text) => text.replace(/\p{C}/gu, "·");

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = visible(text);
  return node;
}

function drawing(shape) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", SHAPES[shape]);
  return svg;
}

function icon(entry, format) {
  const node = element("span", "wb-icon");
  let words = entry.name === ".." ? "folder above" : entry.folder ? "folder" : format;
  if (LETTERS[format]) {
    node.textContent = LETTERS[format];
    node.classList.add("wb-letters");
  } else if (entry.folder) node.append(drawing(entry.name === ".." ? "up" : "folder"));
  else if (format === "image") node.append(drawing("picture"));
  else if (format?.startsWith("NumPy") || /\.(csv|tsv|parquet)$/i.test(entry.name)) {
    node.append(drawing("rows"));
    words = format === "text" ? "rows of data" : format;
  } else node.append(drawing("page"));
  if (words) {
    node.title = words;
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", words);
  }
  return node;
}

function bytes(count) {
  if (count === null) return "";
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  for (; count >= 1000 && unit < 3; unit++) count /= 1000;
  return count === 1 && !unit ? "1 byte" : `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}

function button(className, text, title) {
  const node = element("button", className, text);
  node.type = "button";
  if (title) node.title = visible(title);
  return node;
}

function render({ model, el }) {
  el.classList.add("wb-picker");
  const id = `wb-${Math.random().toString(36).slice(2)}`;

  const menus = element("div", "wb-menus");
  const sample = element("select", "wb-sample");
  sample.setAttribute("aria-label", "The paper's models");
  sample.title = "Models of the paper, made here when they are chosen first";
  const recent = element("select", "wb-recent");
  recent.setAttribute("aria-label", "Recent files");
  const upload = button("wb-upload", "Upload…", "Upload files into this folder; dropping them here does the same");
  const chooser = element("input");
  chooser.type = "file";
  chooser.multiple = true;
  chooser.hidden = true;
  menus.append(sample, recent, upload, chooser);

  const way = element("div", "wb-way");
  const crumbs = element("nav", "wb-crumbs");
  crumbs.setAttribute("aria-label", "Folder");
  const refresh = button("wb-refresh", undefined, "List this folder again");
  refresh.setAttribute("aria-label", "List this folder again");
  refresh.append(drawing("refresh"));
  const audit = button(
    "wb-audit-folder",
    "Audit this folder",
    "Look at every file in it and below, and list what each is and what to mind",
  );
  way.append(crumbs, refresh, audit);

  const search = element("input", "wb-search");
  search.type = "text";
  search.spellcheck = false;
  search.autocomplete = "off";
  search.placeholder = "Search, or type a path";
  search.title = "Shows the names that hold what you type. With a path, press Enter to go there.";
  search.setAttribute("aria-label", "Search this folder, or type a path");

  const list = element("div", "wb-list");
  list.tabIndex = 0;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Files");

  const below = element("div", "wb-below");
  const note = element("span", "wb-note");
  note.setAttribute("role", "status");
  const deeper = button("wb-deeper", "Search the folders below");
  below.append(note, deeper);

  const status = element("div", "wb-status wb-error");
  status.setAttribute("role", "status");
  const message = element("span", "wb-message");
  status.append(message);

  const upline = element("div", "wb-status wb-uploading");
  const upmessage = element("span", "wb-message");
  upmessage.setAttribute("role", "status");
  const upmeter = element("progress", "wb-meter");
  upmeter.setAttribute("aria-label", "Upload");
  const percent = element("span", "wb-percent");
  const upcancel = button("wb-cancel", "Cancel upload");
  upline.append(upmessage, upmeter, percent, upcancel);
  el.append(menus, way, search, status, upline, list, below);

  let shown = [];
  let active = 0;
  let left = null; // the folder just left is where one goes on
  let searching = false;

  // A kernel that was restarted does not know this widget any more, and nothing else would say so.
  let unanswered = null;
  const send = (content, buffers) => {
    clearTimeout(unanswered);
    unanswered = setTimeout(() => {
      message.textContent =
        "The notebook's kernel does not answer. If it is busy with another cell, wait; if it was restarted, run the " +
        "cell above again (Shift + Enter).";
      status.hidden = false;
    }, 5000);
    model.send(content, undefined, buffers); // last: it throws where the kernel is gone
  };

  const isPath = (text) => /[/\\]|^[~.]/.test(text);
  const wanted = () => search.value.trim();
  const foundBelow = () => wanted() !== "" && model.get("found").text === wanted();

  function drawMenu(select, first, groups) {
    select.replaceChildren(element("option", "", first));
    select.firstChild.value = "";
    for (const { group, items } of groups) {
      const parent = group ? element("optgroup") : select;
      if (group) {
        parent.label = group;
        select.append(parent);
      }
      for (const item of items) {
        const option = element("option", "", item.title);
        option.value = item.id;
        option.title = visible(item.about);
        parent.append(option);
      }
    }
  }

  function drawMenus() {
    const files = model.get("recent");
    const items = files.map((file) => ({ id: file.path, title: file.name, about: file.path, folder: file.folder }));
    for (const item of items) if (item.folder !== ".") item.title += ` (${item.folder})`;
    drawMenu(sample, "Paper's models…", model.get("samples"));
    drawMenu(recent, "Recent…", [{ items }]);
    recent.disabled = !items.length;
  }

  function drawCrumbs() {
    crumbs.replaceChildren();
    const way = model.get("crumbs");
    way.forEach((crumb, index) => {
      if (index && !crumbs.textContent.endsWith("/")) crumbs.append(element("span", "wb-slash", "/"));
      const step = button("wb-crumb", crumb.name, crumb.path);
      if (index === way.length - 1) step.setAttribute("aria-current", "true");
      step.onclick = () => {
        left = null;
        search.value = "";
        send({ type: "folder", path: crumb.path });
      };
      crumbs.append(step);
    });
  }

  function drawList() {
    const text = wanted().toLowerCase();
    const here = shown[active]?.path;
    if (foundBelow()) shown = model.get("found").entries;
    else if (!text || isPath(text)) shown = model.get("entries");
    else shown = model.get("entries").filter((entry) => entry.name !== ".." && entry.name.toLowerCase().includes(text));
    active = Math.max(0, shown.findIndex((entry) => entry.path === here));
    list.replaceChildren(
      ...shown.map((entry, index) => {
        const row = element("div", "wb-row");
        row.id = `${id}-${index}`;
        row.dataset.index = index;
        row.setAttribute("role", "option");
        row.title = visible(entry.name);
        const words = element("span", "wb-words");
        const facts = element("span", "wb-facts");
        const parts = [["wb-danger", ""], ["wb-badge wb-chip", ""], ["wb-size", bytes(entry.size)]];
        facts.append(...parts.map(([part, words]) => element("span", part, words)));
        words.append(element("span", "wb-name", entry.name), facts);
        row.append(icon(entry), words);
        return row;
      }),
    );
    drawLooks();
    drawChosen();
    drawNote();
    mark();
  }

  function drawChosen() {
    const path = model.get("path");
    shown.forEach((entry, index) => list.children[index].setAttribute("aria-selected", String(entry.path === path)));
  }

  let drawn = null;
  let due = false;
  function drawFolder() {
    due = false;
    const other = drawn !== model.get("folder");
    if (other) {
      drawn = model.get("folder");
      shown = [];
      searching = false;
      if (isPath(wanted())) search.value = ""; // it led here
      list.scrollTop = 0;
    }
    drawList();
    if (other) moveTo(left, model.get("path"));
  }

  function drawLooks() {
    const looks = model.get("looks");
    shown.forEach((entry, index) => {
      const look = looks[entry.name];
      const row = list.children[index];
      if (!look || row.dataset.look === String(look)) return;
      const [badge, format, danger, words, says] = look;
      row.dataset.look = String(look);
      row.classList.toggle("wb-dull", !badge);
      row.firstChild.replaceWith(icon(entry, format));
      const mark = row.querySelector(".wb-badge");
      mark.textContent = mark.dataset.kind = badge;
      mark.title = badge === "unread" ? "This file could not be read in time. Pick it to see what it is." : "";
      const warning = row.querySelector(".wb-danger");
      warning.textContent = words;
      warning.title = says;
      warning.classList.toggle("wb-harm", danger === "error");
    });
  }

  function drawNote() {
    const text = wanted();
    const found = model.get("found");
    const more = model.get("left_out");
    const number = (count) => count.toLocaleString("en");
    const said = [];
    if (searching) said.push("Looking in the folders below…");
    else if (foundBelow()) {
      said.push(`${number(shown.length)} found in this folder and those below.`);
      if (!found.all) said.push("There may be more: open a folder further down, or type a longer part of the name.");
    } else if (text && !isPath(text)) {
      said.push(shown.length ? `${number(shown.length)} found here.` : "Nothing here has that in its name.");
    } else if (!shown.some((entry) => entry.name !== "..")) said.push("This folder is empty.");
    if (more && !foundBelow()) said.push(`${number(more)} more are not listed; search for a part of their name.`);
    note.textContent = said.join(" ");
    deeper.hidden = searching || !text || isPath(text) || foundBelow();
    below.hidden = !said.length && deeper.hidden;
  }

  function mark() {
    [...list.children].forEach((row, index) => row.classList.toggle("wb-active", index === active));
    const row = list.children[active];
    if (row) {
      list.setAttribute("aria-activedescendant", row.id);
      // scrollIntoView would scroll the whole notebook.
      if (row.offsetTop < list.scrollTop) list.scrollTop = row.offsetTop;
      const over = row.offsetTop + row.offsetHeight - list.scrollTop - list.clientHeight;
      if (over > 0) list.scrollTop += over;
    } else {
      list.removeAttribute("aria-activedescendant");
    }
  }

  function moveTo(...paths) {
    const at = shown.findIndex((entry) => paths.includes(entry.path));
    if (at < 0) return;
    active = at;
    mark();
  }

  function open(entry) {
    if (entry.folder) {
      search.value = "";
      left = model.get("folder");
    }
    send({ type: entry.folder ? "folder" : "file", path: entry.path });
  }

  function find() {
    searching = true;
    drawNote();
    send({ type: "find", text: wanted() });
  }

  function drawStatus() {
    message.textContent = visible(model.get("message"));
    status.hidden = !message.textContent;
    const arrived = model.get("uploaded");
    upmessage.textContent = visible(model.get("uploading"));
    upline.hidden = !upmessage.textContent;
    upmeter.hidden = percent.hidden = upcancel.hidden = arrived < 0;
    upmeter.value = Math.max(0, arrived);
    percent.textContent = `${Math.floor(100 * arrived)} %`;
  }

  // Uploads: chunk by chunk, the next one only when the kernel has written the last.
  let sending = null;
  const waiting = [];
  function next() {
    sending = waiting.shift() || null;
    if (sending) send({ type: "upload", view: id, name: sending.name, size: sending.size, left: waiting.length });
  }
  async function chunk(offset) {
    const file = sending;
    try {
      const part = await file.slice(offset, offset + CHUNK).arrayBuffer();
      if (sending === file) send({ type: "chunk", view: id, offset }, [part]);
    } catch {
      send({ type: "cancel-upload" }); // it was changed or taken away meanwhile
    }
  }
  function take(files) {
    waiting.push(...files);
    if (!sending) next();
  }
  function drop(items) {
    const inside = [...items].filter((item) => item.kind === "file");
    const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
    const names = inside.filter(isFolder).map((item) => item.webkitGetAsEntry().name);
    if (names.length) send({ type: "folders", names });
    take(inside.filter((item) => !isFolder(item)).map((item) => item.getAsFile()));
  }

  model.on("msg:custom", (content) => {
    clearTimeout(unanswered);
    if (content.type === "ack") drawStatus();
    if (content.view !== id) return;
    if (content.type === "want" && sending) chunk(content.offset);
    if (content.type === "done") next();
    if (content.type === "stop") {
      waiting.length = 0;
      sending = null;
    }
  });

  search.oninput = () => {
    shown = [];
    searching = false;
    drawList();
  };
  search.onkeydown = (event) => {
    if (event.key === "Enter") {
      if (isPath(wanted())) send({ type: "typed", path: wanted() });
      else if (shown[active]) open(shown[active]);
      else if (wanted()) find();
    } else if (event.key === "ArrowDown") {
      list.focus();
    } else if (event.key === "Escape") {
      search.value = "";
      drawList();
    } else return;
    event.preventDefault();
  };
  list.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (step) {
      active = Math.max(0, Math.min(shown.length - 1, active + step));
      mark();
    } else if ((event.key === "Enter" && !event.shiftKey && !event.ctrlKey) || event.key === "ArrowRight") {
      if (shown[active]) open(shown[active]);
    } else if (event.key === "Backspace" || event.key === "ArrowLeft") {
      const up = model.get("entries").find((entry) => entry.name === "..");
      if (up) open(up);
    } else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      search.focus();
      return; // the key itself goes into the search field
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  // Coming to the list may change it (below), under the mouse button that is down: what was pressed is opened.
  let pressed = null;
  list.onpointerdown = (event) => {
    const row = event.target.closest(".wb-row");
    pressed = row && { row, entry: shown[row.dataset.index] };
  };
  list.onclick = (event) => {
    const row = event.target.closest(".wb-row");
    const moved = pressed && row !== pressed.row && pressed.row.isConnected; // a press that was dragged away
    const entry = pressed ? pressed.entry : row && shown[row.dataset.index];
    pressed = null;
    if (!entry || moved) return;
    moveTo(entry.path);
    open(entry);
  };
  // Files come and go without the picker; whoever turns to the list sees what is there.
  list.onfocus = () => send({ type: "refresh" });
  refresh.onclick = () => send({ type: "refresh" });
  audit.onclick = () => send({ type: "audit" });
  deeper.onclick = () => {
    list.focus();
    find();
  };
  // Jupyter would take plain keys as commands (two d delete the cell, an arrow in a menu leaves it), and it listens
  // before anything here can stop them: so what has the focus, here and in the panels around, opts out of its
  // shortcuts, but for Ctrl+S, Shift+Enter and their like. What is around the focus is asked too late.
  const leaving = new AbortController();
  window.addEventListener(
    "keydown",
    (event) => {
      if (!(el.closest(".wb-workbench") || el).contains(event.target)) return;
      const theirs = event.ctrlKey || event.metaKey || (event.shiftKey && event.key === "Enter");
      event.target.toggleAttribute("data-lm-suppress-shortcuts", !theirs);
    },
    { capture: true, signal: leaving.signal },
  );

  sample.onchange = () => {
    if (sample.value) send({ type: "sample", id: sample.value });
    sample.value = "";
  };
  recent.onchange = () => {
    if (recent.value) send({ type: "file", path: recent.value });
    recent.value = "";
  };
  // Where a key alone would choose, what was never read would begin: it opens the menu instead.
  sample.onkeydown = recent.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !/^(Arrow|Page|Home|End|\S$)/.test(event.key)) return;
    event.preventDefault();
    event.currentTarget.showPicker?.();
  };
  upload.onclick = () => chooser.click();
  chooser.onchange = () => {
    take([...chooser.files]);
    chooser.value = "";
  };
  upcancel.onclick = () => send({ type: "cancel-upload" });
  const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
  el.ondragover = (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    el.classList.add("wb-drop");
  };
  el.ondragleave = (event) => {
    if (!el.contains(event.relatedTarget)) el.classList.remove("wb-drop");
  };
  el.ondrop = (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    el.classList.remove("wb-drop");
    drop(event.dataTransfer.items);
  };

  model.on("change:crumbs", drawCrumbs);
  // Both come together.
  model.on("change:folder change:entries", () => {
    if (!due) queueMicrotask(drawFolder);
    due = true;
  });
  model.on("change:path", () => {
    drawChosen();
    moveTo(model.get("path"));
  });
  model.on("change:found", () => {
    if (model.get("found").text === undefined) return;
    searching = false;
    drawList();
  });
  model.on("change:looks", drawLooks);
  model.on("change:left_out", drawNote);
  model.on("change:samples change:recent", drawMenus);
  model.on("change:message change:uploading change:uploaded", drawStatus);
  drawMenus();
  drawCrumbs();
  drawFolder();
  drawStatus();
  return () => leaving.abort();
}

export default { render };
