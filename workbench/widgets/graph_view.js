// Netron's frame. It is sandboxed and shows an untrusted model: it is asked to mark nodes, and believed nothing but
// that it is ready and a number.

function render({ model, el }) {
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.tabIndex = -1;
  const bar = document.createElement("div");
  bar.className = "wb-graph-tools";
  bar.dataset.lmSuppressShortcuts = "true"; // or Enter would go to the notebook
  const box = document.createElement("div");
  el.append(said, bar, box);
  const tool = (words, action) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.onclick = action;
    bar.append(button);
    return button;
  };
  const ask = (message) => frame().contentWindow.postMessage(message, "*");
  tool("Fit", () => ask({ type: "workbench:fit" }));
  const zoom = tool("Zoom to marked", () => ask({ type: "workbench:fit", marked: true }));
  const wide = tool("Full screen", () => (document.fullscreenElement ? document.exitFullscreen() : el.requestFullscreen()));
  el.onfullscreenchange = () => {
    wide.textContent = document.fullscreenElement === el ? "Leave full screen" : "Full screen";
    if (ready) setTimeout(() => ask({ type: "workbench:fit" }), 100); // when it is drawn as wide
  };
  function offer() {
    bar.hidden = !ready;
    zoom.hidden = !model.get("marked").length;
  }

  let ready = false;
  const frame = () => box.querySelector("iframe");

  function say(more = "") {
    const text = model.get("said") + more;
    if (said.textContent !== text) said.textContent = text;
  }

  function mark() {
    say();
    offer();
    if (ready) ask({ type: "workbench:select", values: model.get("marked") });
  }

  // JupyterLab's theme may be dark where the system's is light.
  function dress() {
    const light = document.body.dataset.jpThemeLight;
    if (ready && light) ask({ type: "workbench:theme", dark: light === "false" });
  }
  const themes = new MutationObserver(dress);
  themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });

  function draw() {
    ready = false;
    box.innerHTML = model.get("markup"); // the kernel escapes what is the model's in it
    offer();
    say();
  }

  // The button that was clicked may be in another panel, now hidden: neither it nor its place on the page is left.
  function show() {
    if (getComputedStyle(el).visibility === "hidden") return;
    if (document.activeElement === document.body) said.focus({ preventScroll: true });
    (el.closest(".wb-graph") || el).scrollIntoView({ block: "nearest" });
  }

  const hear = ({ source, data }) => {
    if (!source || source !== frame()?.contentWindow || !data) return;
    if (data.type === "workbench:netron" && data.state === "ready") {
      ready = true;
      offer();
      dress();
      if (model.get("marked").length) mark();
    }
    if (data.type === "workbench:selected" && model.get("marked").length) {
      const folded = model.get("marked").length - Number(data.count);
      say(folded > 0 ? ` Netron draws ${folded} of them within the nodes that take their values.` : "");
    }
  };

  window.addEventListener("message", hear);
  model.on("change:markup", draw);
  model.on("change:marked", () => {
    mark();
    if (model.get("marked").length) setTimeout(show, 50); // when the panel is in sight
  });
  model.on("change:said", () => say());
  draw();
  return () => {
    window.removeEventListener("message", hear);
    themes.disconnect();
  };
}

export default { render };
