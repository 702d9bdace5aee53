// The kind card. Its HTML is made and escaped by the kernel; here its op_types become buttons.

function render({ model, el }) {
  el.classList.add("wb-kind-card");
  const said = document.createElement("p");
  const card = document.createElement("div");
  const answers = document.createElement("div");
  answers.className = "wb";
  el.append(said, card, answers);

  function drawCard() {
    const text = model.get("said");
    said.hidden = !text;
    said.setAttribute("role", model.get("alert") ? "alert" : "status");
    if (said.textContent !== text) said.textContent = text;
    card.innerHTML = model.get("card");
    for (const row of card.querySelectorAll("tr[data-op-type]")) {
      const name = row.querySelector(".wb-op");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "wb-op";
      button.append(...name.childNodes);
      button.title = "Mark its nodes in the graph";
      button.dataset.lmSuppressShortcuts = "true"; // or Enter would go to the notebook
      button.onclick = () => model.send({ op_type: row.dataset.opType });
      name.replaceWith(button);
    }
    drawPressed();
  }

  function drawPressed() {
    for (const button of card.querySelectorAll("button.wb-op")) {
      const key = button.closest("tr").dataset.opType;
      button.setAttribute("aria-pressed", String(key === model.get("op_type")));
    }
  }

  function drawAnswers() {
    answers.innerHTML = model.get("answers");
  }

  model.on("change:card change:said change:alert", drawCard);
  model.on("change:op_type", drawPressed);
  model.on("change:answers", drawAnswers);
  drawCard();
  drawAnswers();
}

export default { render };
