// The file picker's face. What a folder holds, what is opened and where uploads go is decided in picker.py;
// names come from the disk, so they are only ever set as text.

const CHUNK = 1 << 20; // a message must stay far below the server's websocket limit (10 MB)

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function render({ model, el }) {
  el.classList.add("wb-picker");
  const id = `wb-${Math.random().toString(36).slice(2)}`;

  const bar = element("div", "wb-bar-row");
  const crumbs = element("nav", "wb-crumbs");
  crumbs.setAttribute("aria-label", "Folder");
  const search = element("input", "wb-search");
  search.type = "text";
  search.placeholder = "Search this folder, or type a path and press Enter";
  search.setAttribute("aria-label", "Search this folder, or type a path");
  const sample = element("select", "wb-sample");
  sample.setAttribute("aria-label", "Sample models");
  const upload = element("button", "wb-upload", "Upload…");
  upload.title = "Upload a model file into this folder; dropping it on the list does the same";
  const chooser = element("input");
  chooser.type = "file";
  chooser.multiple = true;
  chooser.hidden = true;
  bar.append(crumbs, search, sample, upload, chooser);

  const list = element("div", "wb-list");
  list.tabIndex = 0;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Files");

  const status = element("div", "wb-status");
  status.setAttribute("role", "status");
  const meter = element("progress", "wb-meter");
  const message = element("span", "wb-message");
  const cancel = element("button", "wb-cancel", "Cancel");
  status.append(meter, message, cancel);
  const upline = element("div", "wb-status wb-uploading");
  upline.setAttribute("role", "status");
  const upmeter = element("progress", "wb-meter");
  const upmessage = element("span", "wb-message");
  const upcancel = element("button", "wb-cancel", "Cancel upload");
  upline.append(upmeter, upmessage, upcancel);
  el.append(bar, status, upline, list);

  let active = 0;
  let left = null;
  let shown = [];

  // A kernel that was restarted does not know this widget any more, and nothing else would say so.
  let unanswered = null;
  const send = (content, buffers) => {
    clearTimeout(unanswered);
    unanswered = setTimeout(() => {
      message.textContent =
        "The notebook's kernel does not answer. If it was restarted, run the cell above again (Shift + Enter).";
      status.classList.add("wb-error");
      status.hidden = false;
    }, 5000);
    model.send(content, undefined, buffers); // last: it throws where the kernel is gone
  };

  function drawCrumbs() {
    crumbs.replaceChildren();
    model.get("crumbs").forEach((crumb, index) => {
      if (index && !crumbs.textContent.endsWith("/")) crumbs.append(element("span", "wb-slash", "/"));
      const button = element("button", "wb-crumb", crumb.name);
      button.title = crumb.path;
      button.onclick = () => {
        left = null;
        search.value = "";
        send({ type: "folder", path: crumb.path });
      };
      crumbs.append(button);
    });
  }

  function drawList() {
    const wanted = search.value.trim().toLowerCase();
    shown = model
      .get("entries")
      .filter((entry) => isPath(wanted) || !wanted || (entry.name !== ".." && entry.name.toLowerCase().includes(wanted)));
    active = Math.max(0, Math.min(active, shown.length - 1));
    const path = model.get("path");
    list.replaceChildren(
      ...shown.map((entry, index) => {
        const row = element("div", "wb-row");
        row.id = `${id}-${index}`;
        row.setAttribute("role", "option");
        row.setAttribute("aria-selected", String(entry.path === path));
        row.title = entry.name;
        if (!entry.folder && !entry.badge) row.classList.add("wb-dull");
        const icon = element("span", "wb-icon", entry.folder ? "▸" : "·");
        icon.setAttribute("aria-hidden", "true");
        row.append(
          icon,
          element("span", "wb-name", entry.name),
          element("span", "wb-badge", entry.badge || ""),
          element("span", "wb-size", entry.size),
        );
        row.onclick = () => {
          active = index;
          open(entry);
        };
        return row;
      }),
    );
    if (!shown.length) {
      list.append(element("div", "wb-empty", wanted ? "Nothing here has that in its name." : "This folder is empty."));
    }
    mark();
  }

  function mark() {
    [...list.children].forEach((row, index) => row.classList.toggle("wb-active", index === active));
    const row = shown.length ? list.children[active] : null;
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

  const isPath = (text) => /[/\\]|^[~.]/.test(text);

  // What was picked is shown; a folder just left is where one goes on.
  function follow() {
    const at = shown.findIndex((entry) => entry.path === model.get("path") || entry.path === left);
    if (at >= 0) {
      active = at;
      mark();
    }
  }

  function open(entry) {
    if (entry.folder) {
      search.value = "";
      left = model.get("folder");
      active = 0;
    }
    send({ type: entry.folder ? "folder" : "file", path: entry.path });
    mark();
  }

  function drawSamples() {
    sample.replaceChildren(element("option", "", "Sample models…"));
    sample.firstChild.value = "";
    for (const item of model.get("samples")) {
      const option = element("option", "", item.title);
      option.value = item.id;
      sample.append(option);
    }
  }

  function drawStatus() {
    const text = model.get("message");
    const busy = model.get("busy");
    const part = model.get("progress");
    message.textContent = text;
    status.classList.toggle("wb-error", model.get("failed"));
    meter.hidden = cancel.hidden = !busy;
    if (part >= 0) meter.value = part;
    else meter.removeAttribute("value");
    status.hidden = !text && !busy;
    const arrived = model.get("uploaded");
    upmessage.textContent = model.get("uploading");
    upline.hidden = !model.get("uploading");
    upmeter.hidden = upcancel.hidden = arrived < 0;
    if (arrived >= 0) upmeter.value = arrived;
  }

  // Uploads: chunk by chunk, the next one only when the kernel has written the last.
  let sending = null;
  const waiting = [];
  function next() {
    sending = waiting.shift() || null;
    if (sending) send({ type: "upload", name: sending.file.name, size: sending.file.size, left: waiting.length });
  }
  async function chunk(offset) {
    const part = await sending.file.slice(offset, offset + CHUNK).arrayBuffer();
    if (sending) send({ type: "chunk", offset }, [part]);
  }
  function take(files) {
    for (const file of files) waiting.push({ file });
    if (!sending) next();
  }
  model.on("msg:custom", (content) => {
    clearTimeout(unanswered);
    if (content.type === "ack") drawStatus();
    if (content.type === "want" && sending) chunk(content.offset);
    if (content.type === "done") next();
    if (content.type === "stop") {
      waiting.length = 0;
      sending = null;
    }
  });

  search.oninput = () => {
    active = 0;
    drawList();
  };
  search.onkeydown = (event) => {
    if (event.key === "Enter") {
      if (isPath(search.value.trim())) send({ type: "typed", path: search.value.trim() });
      else if (shown[active]) open(shown[active]);
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
  // In the list, JupyterLab would take plain letters as commands (two d delete the cell), and it listens before
  // anything here can stop them: so the list opts out of its shortcuts, but for Ctrl+S, Shift+Enter and their like.
  const leaving = new AbortController();
  window.addEventListener(
    "keydown",
    (event) => {
      const theirs = event.ctrlKey || event.metaKey || (event.shiftKey && event.key === "Enter");
      if (theirs) delete el.dataset.lmSuppressShortcuts;
      else el.dataset.lmSuppressShortcuts = "true";
    },
    { capture: true, signal: leaving.signal },
  );

  sample.onchange = () => {
    if (sample.value) send({ type: "sample", id: sample.value });
    sample.value = "";
  };
  upload.onclick = () => chooser.click();
  chooser.onchange = () => {
    take(chooser.files);
    chooser.value = "";
  };
  cancel.onclick = () => send({ type: "cancel" });
  upcancel.onclick = () => send({ type: "cancel-upload" });
  list.ondragover = (event) => {
    event.preventDefault();
    event.stopPropagation();
    list.classList.add("wb-drop");
  };
  list.ondragleave = () => list.classList.remove("wb-drop");
  list.ondrop = (event) => {
    event.preventDefault();
    event.stopPropagation();
    list.classList.remove("wb-drop");
    take(event.dataTransfer.files);
  };

  model.on("change:crumbs", drawCrumbs);
  model.on("change:entries change:path", () => {
    drawList();
    follow();
  });
  model.on("change:samples", drawSamples);
  model.on("change:message change:busy change:progress change:failed change:uploading change:uploaded", drawStatus);
  drawCrumbs();
  drawList();
  follow();
  drawSamples();
  drawStatus();
  return () => leaving.abort();
}

export default { render };
