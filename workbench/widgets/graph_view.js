// Netron's frame. It is sandboxed and shows an untrusted model: it is asked to mark nodes, and believed nothing but
// that it is ready and a number.

function render({ model, el }) {
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.tabIndex = -1;
  const box = document.createElement("div");
  el.append(said, box);

  let ready = false;
  const frame = () => box.querySelector("iframe");

  function say(more = "") {
    const text = model.get("said") + more;
    if (said.textContent !== text) said.textContent = text;
  }

  function mark() {
    say();
    if (ready) frame().contentWindow.postMessage({ type: "workbench:select", values: model.get("marked") }, "*");
  }

  // JupyterLab's theme may be dark where the system's is light.
  function dress() {
    const light = document.body.dataset.jpThemeLight;
    if (ready && light) frame().contentWindow.postMessage({ type: "workbench:theme", dark: light === "false" }, "*");
  }
  const themes = new MutationObserver(dress);
  themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });

  function draw() {
    ready = false;
    box.innerHTML = model.get("markup"); // the kernel escapes what is the model's in it
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
