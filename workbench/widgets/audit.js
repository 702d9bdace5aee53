// An audit as a table. What is shown of it, and in which order, is decided by the kernel, a hundred rows at a time; names
// come from the disk, so they are only ever set as text.

const HEADS = [["file", "file"], ["kind", "kind"], ["format", "format"], ["size", "size"], ["findings", "what to mind"]];

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(text, action, className = "") {
  const node = element("button", className, text);
  node.type = "button";
  node.onclick = action;
  return node;
}

// A long path may go on in the next line after what parts it.
const soft = (text) => text.split(/(?<=[./_-])/).flatMap((part, at) => (at ? [element("wbr"), part] : [part]));

const number = (count) => count.toLocaleString("en");

function render({ model, el }) {
  el.classList.add("wb-audit-table");
  const head = element("div", "wb-line");
  const says = element("strong", "wb-says");
  const silence = element("p", "wb-silence");
  silence.setAttribute("role", "status");
  // A kernel that was restarted does not know this widget any more, and nothing else would say so.
  let unanswered = null;
  function send(content) {
    clearTimeout(unanswered);
    unanswered = setTimeout(() => {
      silence.textContent =
        "The notebook's kernel does not answer. If it is busy with another cell, wait; if it was restarted, run the " +
        "cell above again (Shift + Enter).";
    }, 5000);
    model.send({ ...content, audit: model.get("audits") }); // last: it throws where the kernel is gone
  }
  function answered() {
    clearTimeout(unanswered);
    silence.textContent = "";
  }
  head.append(says, button("Close", () => send({ type: "close" })));
  const place = element("p", "wb-place");
  const earlier = element("p", "wb-earlier");
  const known = element("span");
  earlier.append(known, " ", button("Read all anew", () => send({ type: "anew" })));

  function want(changes) {
    model.set("wanted", { ...model.get("wanted"), ...changes });
    send({ type: "ask" });
    model.save_changes();
  }

  const filters = element("div", "wb-line");
  const text = element("input", "wb-text");
  text.type = "search";
  text.placeholder = "Search paths and findings";
  text.setAttribute("aria-label", "Search paths and findings");
  let typing = null;
  text.oninput = () => {
    clearTimeout(typing);
    typing = setTimeout(() => want({ text: text.value }), 150);
  };
  const menus = ["kind", "format", "finding"].map((name) => {
    const menu = element("select");
    menu.setAttribute("aria-label", name);
    menu.onchange = () => want({ [name]: menu.value });
    return [name, menu];
  });
  const all = button("Show all", () => want({ kind: "", format: "", finding: "", text: "" }));
  filters.append(text, ...menus.map(([, menu]) => menu), all);

  const frame = element("div", "wb-frame");
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", "Audited files");
  const table = element("table");
  const heads = HEADS.map(([order, title]) => {
    const cell = element("th");
    cell.scope = "col";
    cell.append(
      button(title, () => {
        const { order: before, down } = model.get("wanted");
        want({ order, down: before === order ? !down : order === "findings" || order === "size" });
      }),
    );
    return [order, cell];
  });
  const mark = element("th", "", "mark");
  mark.scope = "col";
  table.createTHead().insertRow().append(mark, ...heads.map(([, cell]) => cell));
  const body = table.createTBody();
  frame.append(table);

  const below = element("div", "wb-line");
  const status = element("span");
  status.setAttribute("role", "status");
  const turn = (by) => {
    model.set("page", model.get("page") + by);
    send({ type: "ask" });
    model.save_changes();
  };
  const back = button("Previous", () => turn(-1));
  const on = button("Next", () => turn(1));
  const exports = element("span", "wb-line wb-export", "Export these as");
  below.append(status, back, on, exports);
  for (const [ending, name] of [[".csv", "CSV"], [".json", "JSON"], [".sarif", "SARIF"], [".html", "page"]]) {
    exports.append(button(name, () => send({ type: "export", ending })));
  }
  const two = element("div", "wb-line wb-two");
  const pair = element("span");
  pair.setAttribute("role", "status");
  const differ = button("What differs?", () => send({ type: "diff" }));
  const unmark = button("Unmark", () => setMarked([]));
  two.append(pair, differ, unmark);
  el.append(head, place, earlier, filters, frame, below, two, silence);

  function setMarked(marked) {
    model.set("marked", marked);
    send({ type: "ask" });
    model.save_changes();
    drawMarked();
  }

  function drawMarked() {
    const marked = model.get("marked");
    for (const row of body.rows) {
      const tick = row.querySelector("input");
      if (tick) tick.checked = marked.includes(Number(row.dataset.number));
    }
    const [first, second] = model.get("names");
    const next = first ? `${first} is marked; mark another one.` : "Mark two ONNX files to see what differs.";
    pair.textContent = second ? `From ${first} to ${second}` : next;
    differ.disabled = marked.length < 2;
    unmark.disabled = !marked.length;
    two.hidden = !((model.get("choices").format || {}).ONNX > 1);
  }

  function drawAudit() {
    says.textContent = model.get("says");
    place.textContent = model.get("place");
    const when = model.get("earlier");
    earlier.hidden = !when;
    known.textContent = `Files that have not changed since an earlier audit (the last one: ${when}) were not read again.`;
    for (const [name, menu] of menus) {
      const choices = Object.entries(model.get("choices")[name] || {}).filter(([, count]) => count);
      menu.replaceChildren(new Option(`any ${name}`, ""), ...choices.map(([value, count]) => new Option(`${value} (${number(count)})`, value)));
    }
    drawWanted();
  }

  function drawWanted() {
    const wanted = model.get("wanted");
    for (const [name, menu] of menus) menu.value = wanted[name];
    if (document.activeElement !== text || !wanted.text) text.value = wanted.text;
    for (const [order, cell] of heads) {
      if (order === wanted.order) cell.setAttribute("aria-sort", wanted.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  function drawRows() {
    const rows = model.get("rows").map(([number, path, kind, format, size, level, minds, more, compares]) => {
      const row = element("tr");
      row.dataset.number = number;
      const name = element("th");
      name.scope = "row";
      const open = button("", () => send({ type: "open", row: number }), "wb-open");
      open.append(...soft(path));
      name.append(open);
      const mind = element("td");
      if (level) mind.append(element("b", `wb-level wb-${level}`, level), " ", ...soft(minds), `${more ? ` And ${more} more.` : ""}`);
      const box = element("td", "wb-box");
      if (compares) {
        const tick = element("input");
        tick.type = "checkbox";
        tick.setAttribute("aria-label", `Mark ${path}`);
        tick.onchange = () => {
          const others = model.get("marked").filter((other) => other !== number);
          setMarked(tick.checked ? [...others, number].slice(-2) : others);
        };
        box.append(tick);
      }
      const chip = element("span", "wb-chip", kind);
      chip.dataset.kind = kind;
      const what = element("td");
      what.append(chip);
      row.append(box, name, what, element("td", "", format), element("td", "", size), mind);
      row.onclick = (event) => event.target.closest("button, .wb-box") || name.firstChild.click();
      return row;
    });
    body.replaceChildren(...rows);
    frame.scrollTop = 0;
    const first = model.get("page") * model.get("size");
    const { length } = rows;
    const [matching, total] = [model.get("matching"), model.get("total")];
    const where = length && length < matching ? `${number(first + 1)} to ${number(first + length)} of ` : "";
    status.textContent = `${where}${number(matching)}${matching < total ? ` of ${number(total)}` : ""} ${total === 1 ? "file" : "files"}`;
    back.disabled = !first;
    on.disabled = first + length >= matching;
    drawCurrent();
    drawMarked();
  }

  function drawCurrent() {
    for (const row of body.rows) {
      row.setAttribute("aria-current", Number(row.dataset.number) === model.get("current"));
    }
  }

  model.on("change:says change:place change:earlier change:choices", drawAudit);
  model.on("change:wanted", drawWanted);
  model.on("change:rows change:matching change:total", drawRows);
  model.on("change:current", drawCurrent);
  model.on("change:marked change:names change:choices", drawMarked);
  model.on("msg:custom", answered);
  model.on("change:audits", () => setTimeout(() => el.scrollIntoView({ block: "nearest" }), 100)); // when it is shown
  drawAudit();
  drawRows();
  return () => {
    clearTimeout(typing);
    clearTimeout(unanswered);
  };
}

export default { render };
