// Nengo GUI in a frame. Its server runs beside the kernel; this finds the way there: through jupyter-server-proxy, which
// works whatever this page's address is, or else directly, where the browser runs on the kernel's machine.

function element(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function jupyter() {
  const config = document.getElementById("jupyter-config-data");
  if (!config) return null; // VS Code, an exported page
  return new URL(JSON.parse(config.textContent).baseUrl || "/", window.location.href).href;
}

async function answers(address) {
  try {
    const signal = AbortSignal.timeout(5000);
    const response = await fetch(`${address}alive`, { credentials: "same-origin", cache: "no-store", signal });
    return response.ok && (await response.text()) === "Nengo GUI";
  } catch {
    return false;
  }
}

async function find(port, token) {
  const proxy = jupyter();
  const direct = `http://127.0.0.1:${port}/${token}/`;
  if (proxy) {
    const proxied = `${proxy}proxy/${port}/${token}/`;
    if (await answers(proxied)) return proxied;
    if (!(await answers(direct))) return null;
  }
  return direct; // elsewhere a page may be forbidden to ask, and yet allowed to show
}

function render({ model, el }) {
  const style = element("style", "", `.${model.get("still")} { display: none; }`);
  const bar = element("div", "wb-gui-bar");
  bar.style.cssText = "display:flex;gap:1rem;justify-content:space-between;flex-wrap:wrap;padding:2px 0 6px";
  const title = element("b", "wb-gui-title", model.get("title"));
  title.style.cssText = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap;min-width:0";
  const side = element("span", "wb-gui-side");
  const note = element("div", "wb-gui-note", "Opening Nengo GUI…");
  note.setAttribute("role", "status");
  note.style.cssText = "padding:2px 0 6px";
  const picture = element("img", "wb-gui-picture");
  picture.alt = `Drawing of ${model.get("title")}`;
  picture.src = model.get("picture");
  picture.style.maxWidth = "100%";
  bar.append(title, side);
  el.append(style, bar, note, picture);

  let shown = ""; // the address in the frame
  let frame = null;

  function say(text) {
    note.textContent = text;
    note.hidden = false;
  }

  // Without a kernel, or with one that was restarted, nothing else would say so.
  const unanswered = setTimeout(() => say("Run the cell to open this network in Nengo GUI."), 8000);

  async function open(port, token) {
    clearTimeout(unanswered);
    const key = `${port}/${token}`;
    if (shown === key) return;
    shown = key;
    const address = await find(port, token);
    if (shown !== key) return;
    if (!address) {
      say(
        `Nengo GUI runs beside the kernel (port ${port}), but this page cannot reach it: install jupyter-server-proxy ` +
          "where Jupyter runs, restart Jupyter, and run the cell again.",
      );
      return;
    }
    frame?.remove();
    frame = element("iframe", "wb-gui-frame");
    frame.title = `Nengo GUI: ${model.get("title")}`;
    frame.allowFullscreen = true;
    frame.referrerPolicy = "no-referrer";
    frame.src = address;
    frame.style.cssText = "display:block;width:100%;box-sizing:border-box;border:1px solid #bbb;border-radius:4px";
    frame.style.height = `${model.get("height")}px`;
    const link = element("a", "wb-gui-link", "Open in its own tab");
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    link.style.cssText = "color:var(--jp-content-link-color, revert);text-decoration:underline";
    side.replaceChildren(link);
    note.hidden = picture.hidden = true;
    el.append(frame);
  }

  const listen = (content) => {
    if (content.type === "address") open(content.port, content.token);
  };
  model.on("msg:custom", listen);
  try {
    model.send({ type: "open" });
  } catch {
    // an exported page: the picture stays
  }
  return () => {
    clearTimeout(unanswered);
    model.off("msg:custom", listen);
  };
}

export default { render };
