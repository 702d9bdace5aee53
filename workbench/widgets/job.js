// The bar of the work under way. The clock runs here, so that it goes on while the kernel is busy.

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function render({ model, el }) {
  el.classList.add("wb-job");
  const head = element("div", "wb-job-head");
  const about = element("span", "wb-job-about");
  const clock = element("span", "wb-job-clock");
  const cancel = element("button", "wb-job-cancel", "Cancel");
  cancel.type = "button";
  head.append(about, clock, cancel);
  const bar = element("progress");
  bar.setAttribute("aria-label", "Progress");
  const stages = element("ol", "wb-job-stages");
  const now = element("p", "wb-job-now");
  now.setAttribute("role", "status");
  el.append(head, bar, stages, now);

  let begun = 0;
  let before = new Map(); // what stood in each place for an outcome when the work began
  function tick() {
    const seconds = Math.floor((performance.now() - begun) / 1000);
    clock.textContent = seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }

  function draw() {
    const running = model.get("running");
    el.hidden = !running;
    about.textContent = model.get("about");
    const said = model.get("stages");
    // The present stage is said apart: readers of the page aloud hear that line alone.
    stages.replaceChildren(...said.slice(0, -1).map((stage) => element("li", "", `✓ ${stage}`)));
    const present = running && said.length ? `${said[said.length - 1]} …` : "";
    if (now.textContent !== present) now.textContent = present;
    const progress = model.get("progress");
    if (progress < 0) bar.removeAttribute("value");
    else bar.value = progress;
  }

  function time() {
    begun = performance.now() - 1000 * model.get("seconds");
    tick();
  }

  function start() {
    cancel.disabled = false;
    cancel.textContent = "Cancel";
    time();
    draw();
  }

  cancel.onclick = () => {
    cancel.disabled = true;
    cancel.textContent = "Cancelling …";
    model.send({ type: "cancel" });
  };

  // What came of the work may be out of sight, and the button that began it, disabled meanwhile, has lost the focus.
  function outcomes() {
    const place = el.closest(".wb-workbench") || el.closest(".wb-panel");
    return place ? [...place.querySelectorAll(".wb-outcome")] : [];
  }

  function showOutcome() {
    const fresh = outcomes().filter((outcome) => before.get(outcome) !== outcome.textContent);
    for (const outcome of fresh.length ? fresh : outcomes()) {
      const seen = outcome.offsetHeight && getComputedStyle(outcome).visibility !== "hidden";
      if (!seen || !outcome.textContent.trim()) continue;
      outcome.tabIndex = -1;
      if (document.activeElement === document.body) outcome.focus({ preventScroll: true });
      const low = outcome.getBoundingClientRect().top > window.innerHeight / 2;
      outcome.scrollIntoView({ block: low ? "center" : "nearest" });
    }
  }

  model.on("change:running", () => {
    start();
    if (!model.get("running")) setTimeout(showOutcome, 100); // when the panel shows it
    else before = new Map(outcomes().map((outcome) => [outcome, outcome.textContent]));
  });
  model.on("change:seconds", time);
  model.on("change:about change:stages change:progress", draw);
  const timer = setInterval(tick, 1000);
  start();
  return () => clearInterval(timer);
}

export default { render };
