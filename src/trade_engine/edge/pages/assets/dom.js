// Elements and texts.  Whatever comes from the server is set as text, never as HTML.

/** The element of that id. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** A new element: its attributes (`on…` are listeners, `text` is its text), and what is in it. */
export function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}

/** Set a text where it differs: what does not change is not drawn again. */
export function setText(element, text) {
  const wanted = text ?? "";
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** The rows of a table's body: of each a list of cells, or of texts. */
export function fillTable(body, rows, nothing) {
  const width = body.closest("table").querySelectorAll("thead th").length;
  const shown = rows.length ? rows : [[make("td", { colspan: width, class: "empty", text: nothing })]];
  body.replaceChildren(
    ...shown.map((cells) => make("tr", {}, ...cells.map((cell) => (cell instanceof Node ? cell : make("td", { text: cell }))))),
  );
}

/** A cell of figures, or of another class. */
export function cell(text, kind = "number", more = {}) {
  return make("td", { class: kind, text: text ?? "–", ...more });
}

/** A time of the server as people read it, UTC. */
export function clock(time) {
  return time ? time.slice(11, 19) : "–";
}

/** The same with its day. */
export function moment(time) {
  return time ? `${time.slice(0, 10)} ${time.slice(11, 19)}` : "–";
}

/** Tabs: buttons with role tab in a list, each showing the panel that it controls; arrows move between them. */
export function tabs(list, chosen = () => {}) {
  const buttons = [...list.querySelectorAll("[role=tab]")];
  const choose = (button, focus) => {
    for (const each of buttons) {
      const selected = each === button;
      each.setAttribute("aria-selected", String(selected));
      each.tabIndex = selected ? 0 : -1;
      byId(each.getAttribute("aria-controls")).hidden = !selected;
    }
    if (focus) button.focus();
    chosen(button);
  };
  for (const [at, button] of buttons.entries()) {
    button.addEventListener("click", () => choose(button, false));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) {
        event.preventDefault();
        choose(buttons[(at + step + buttons.length) % buttons.length], true);
      }
    });
  }
  choose(buttons.find((button) => button.getAttribute("aria-selected") === "true") ?? buttons[0], false);
}

/** Say something for a while, at the page's foot; errors stay longer and are read out at once. */
export function say(text, kind = "note") {
  const message = make("div", { class: `message ${kind}`, role: kind === "error" ? "alert" : "status" });
  const close = make("button", { type: "button", "aria-label": "Dismiss", text: "×", onclick: () => message.remove() });
  message.append(make("span", { text }), close);
  const place = byId("messages");
  place.append(message);
  while (place.children.length > 4) place.firstChild.remove();
  setTimeout(() => message.remove(), kind === "error" ? 15_000 : 6_000);
}
