// What all views of the console share: calls as the operator, and changes, each with its reason.

import { ApiError, ask, explain } from "./api.js";
import { byId, make, say, setText } from "./dom.js";

export const desk = {
  /** Who calls; null: nobody. */
  login: null,

  /** The data of a GET below /admin. */
  async read(target) {
    return (await this.call("GET", target)).data;
  },

  /** Any call below /admin: its data and meta. */
  async call(method, target, body = null) {
    if (!this.login) throw new ApiError("UNAUTHORIZED", "Nobody is logged in.");
    return ask(method, `/admin${target}`, { login: this.login, body });
  },

  /** The metrics, as Prometheus takes them. */
  async metrics() {
    const answer = await fetch("/console/metrics", { headers: await this.login.headers(), cache: "no-store", credentials: "omit" });
    if (!answer.ok) throw new ApiError("UNREACHABLE", `The metrics cannot be read: status ${answer.status}.`);
    return answer.text();
  },
};

/** A button that asks for a change. */
export function action(text, label, click, kind = "quiet") {
  return make("button", { type: "button", class: kind, "aria-label": label, text, onclick: click });
}

/** Fields of a dialog: `name`, `label`, and `value` or `choices`. */
function fieldOf({ name, label, value = "", choices }) {
  const input = choices
    ? make("select", { id: `change-${name}` }, ...choices.map((choice) => make("option", { value: choice, text: choice, selected: choice === value })))
    : make("input", { id: `change-${name}`, value, spellcheck: "false" });
  return [make("label", { for: `change-${name}`, text: label }), input];
}

/**
 * Ask for a reason, and whatever else a change needs, and have it done; the dialog stays while that is refused.
 * @param {{title: string, text?: string, submit: string, fields?: object[], done: string, run: function(object): Promise}} change
 */
export function change({ title, text = "", submit, fields = [], done, run, after = () => {} }) {
  const dialog = byId("change");
  setText(byId("change-title"), title);
  setText(byId("change-text"), text);
  setText(byId("change-submit"), submit);
  setText(byId("change-problem"), "");
  byId("change-fields").replaceChildren(...fields.flatMap(fieldOf));
  byId("reason").value = "";
  byId("change-form").onsubmit = async (event) => {
    event.preventDefault();
    const reason = byId("reason").value.trim();
    if (!reason) {
      setText(byId("change-problem"), "A reason is needed: it goes into the audit.");
      byId("reason").focus();
      return;
    }
    const given = Object.fromEntries(fields.map(({ name }) => [name, byId(`change-${name}`).value.trim()]));
    byId("change-submit").disabled = true;
    try {
      await run({ ...given, reason });
      dialog.close();
      say(done);
      await after();
    } catch (error) {
      setText(byId("change-problem"), explain(error));
    } finally {
      byId("change-submit").disabled = false;
    }
  };
  byId("change-cancel").onclick = () => dialog.close();
  dialog.showModal();
  (fields.length ? byId(`change-${fields[0].name}`) : byId("reason")).focus();
}

/** Show all that is known of something. */
export function details(title, values) {
  setText(byId("details-title"), title);
  const rows = Object.entries(values).map(([name, value]) => make("div", {}, make("dt", { text: name.replaceAll("_", " ") }), make("dd", { text: value === null ? "–" : String(value) })));
  byId("details-rows").replaceChildren(...rows);
  byId("details-close").onclick = () => byId("details").close();
  byId("details").showModal();
}
