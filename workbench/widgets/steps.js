// The tabs of the steps. The panels belong to the notebook (workbench.py); here the one looked at is told to the
// style sheet by an attribute of the workbench, so that changing tabs needs no answer from the kernel.

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function render({ model, el }) {
  el.classList.add("wb-steps");
  const id = `wb-${Math.random().toString(36).slice(2)}`;
  const title = element("div", "wb-title");
  const kind = element("span", "wb-chip");
  const name = element("span", "wb-file");
  const folder = element("span", "wb-folder");
  const next = element("button", "wb-next");
  next.type = "button";
  next.dataset.lmSuppressShortcuts = "true"; // or Enter would go to the notebook
  next.onclick = () => go(model.get("next"));
  title.append(kind, name, folder, next);
  const list = element("div", "wb-tabs");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Steps");
  el.append(title, list);

  const tabs = model.get("steps").map(({ step, title }, index) => {
    const tab = element("button", "wb-tab");
    tab.type = "button";
    tab.id = `${id}-${step}`;
    tab.setAttribute("role", "tab");
    tab.append(element("span", "wb-number", String(index + 1)), element("span", "wb-step-title", title));
    tab.append(element("span", "wb-mark"));
    tab.onclick = () => go(step);
    list.append(tab);
    return tab;
  });
  const steps = model.get("steps").map(({ step }) => step);

  function go(step) {
    model.set("step", step);
    model.save_changes();
  }

  list.onkeydown = (event) => {
    const at = steps.indexOf(model.get("step"));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: steps.length - 1 }[event.key];
    if (to === undefined) return;
    go(steps[(to + steps.length) % steps.length]);
    tabs[steps.indexOf(model.get("step"))].focus();
    event.preventDefault();
    event.stopPropagation();
  };

  // Where the notebook's page puts the panels into the document is not known; soon, mostly.
  let tries = 0;
  function drawStep() {
    const step = model.get("step");
    tabs.forEach((tab, index) => {
      const chosen = steps[index] === step;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    });
    const root = el.closest(".wb-workbench");
    if (root) root.dataset.step = step;
    const panels = root ? [...root.querySelectorAll(".wb-step")] : [];
    for (const panel of panels) {
      const at = steps.findIndex((name) => panel.classList.contains(`wb-step-${name}`));
      panel.id = `${id}-panel-${steps[at]}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tabs[at].id);
      tabs[at].setAttribute("aria-controls", panel.id);
    }
    if (panels.length < steps.length && tries++ < 200) setTimeout(drawStep, 25);
  }

  function drawNext() {
    const step = model.get("next");
    const titles = Object.fromEntries(model.get("steps").map(({ step, title }) => [step, title]));
    next.textContent = `Next: ${titles[step]}`;
    next.hidden = !step || step === model.get("step"); // there the panel's own button is what comes next
  }

  function drawMarks() {
    const marks = model.get("marks");
    tabs.forEach((tab, index) => {
      tab.querySelector(".wb-mark").textContent = marks[steps[index]] || "";
    });
  }

  function drawTitle() {
    name.textContent = model.get("file") || "No model picked yet";
    folder.textContent = model.get("folder");
    folder.title = model.get("folder");
    kind.textContent = kind.dataset.kind = model.get("kind");
    kind.hidden = !kind.textContent;
  }

  const low = () => list.getBoundingClientRect().top > window.innerHeight / 2;

  // What is scrolled into sight stops below what stays there, however many lines that takes.
  const above = new ResizeObserver(() => {
    const stays = getComputedStyle(el).position === "sticky";
    el.closest(".wb-workbench")?.style.setProperty("--wb-above", stays ? `${el.offsetHeight}px` : "0px");
  });
  above.observe(el);

  function toItsBegin() {
    const panel = el.closest(".wb-workbench")?.querySelector(`.wb-step-${model.get("step")}`);
    if (panel?.getBoundingClientRect().top < el.getBoundingClientRect().bottom) panel.scrollIntoView({ block: "start" });
  }

  model.on("change:next", drawNext);
  model.on("change:step", () => {
    drawStep();
    drawNext();
    // A long step may have been read to its end, where a short one has nothing; or the page may end below the tabs.
    list.scrollIntoView({ block: low() ? "start" : "nearest" });
    toItsBegin();
  });
  model.on("change:marks", drawMarks);
  model.on("change:file change:folder change:kind", () => {
    drawTitle();
    // Below the file list, where the page is narrow, the hand that picks would see nothing happen.
    const picked = document.activeElement?.closest(".wb-left, .wb-audits");
    if (picked && low()) list.scrollIntoView({ block: "center" });
    else if (picked) toItsBegin();
  });
  drawStep();
  drawMarks();
  drawNext();
  drawTitle();
  return () => above.disconnect();
}

export default { render };
