// The Download button: asks the kernel for a file piece by piece, and hands it to the browser as one.

function render({ model, el }) {
  el.classList.add("wb-download");
  const button = document.createElement("button");
  button.className = "jupyter-button";
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  el.append(button, status);

  let id = null; // of the download under way; another page may show the same widget
  let pieces = [];
  let arrived = 0;
  let total = 0;
  let unanswered = null;

  const say = (text) => {
    status.textContent = text;
  };
  const end = (text) => {
    clearTimeout(unanswered);
    id = null;
    pieces = [];
    say(text);
  };

  function ask() {
    clearTimeout(unanswered);
    unanswered = setTimeout(
      () => end("The notebook's kernel does not answer. If it was restarted, run the cell above again (Shift + Enter)."),
      10000,
    );
    model.send({ type: "want", id, offset: arrived });
  }

  function draw() {
    end("");
    el.hidden = !model.get("name");
    button.textContent = `Download ${model.get("name")}${model.get("size") && ` (${model.get("size")})`}`;
  }

  button.onclick = () => {
    if (id !== null) return;
    id = Math.random().toString(36).slice(2);
    arrived = 0;
    say("Fetching …");
    ask();
  };

  const receive = (content, buffers) => {
    if (content.id !== id) return;
    if (content.problem) return end(content.problem);
    if (arrived && content.total !== total) return end("The file has changed meanwhile; download it again.");
    total = content.total;
    pieces.push(buffers[0]);
    arrived += buffers[0].byteLength;
    if (arrived < total) {
      say(`Fetching … ${Math.floor((100 * arrived) / total)} %`);
      return ask();
    }
    const link = document.createElement("a");
    // Not text/html: it is to be saved, and must never open as a page of this site.
    link.href = URL.createObjectURL(new Blob(pieces, { type: "application/octet-stream" }));
    link.download = model.get("name");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    end("Downloaded.");
  };

  model.on("msg:custom", receive);
  model.on("change:name change:size", draw);
  draw();
  return () => {
    clearTimeout(unanswered);
    model.off("msg:custom", receive);
    model.off("change:name change:size", draw);
  };
}

export default { render };
