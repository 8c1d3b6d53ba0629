// The operator's console: who is logged in, which view is shown, and when it is looked at again.

import { byId, say, setText, tabs } from "./dom.js";
import { explain } from "./api.js";
import { TokenLogin } from "./login.js";
import { desk } from "./console-desk.js";
import { showHealth } from "./console-health.js";
import { beginAudit, beginChecks, beginUsers, forgetUser, showAudit, showChecks, showLetters, showMarkets, showUser } from "./console-views.js";

const EVERY_MS = 3_000;
const VIEWS = { health: showHealth, markets: showMarkets, letters: showLetters, users: showUser, checks: showChecks, audit: () => showAudit() };
const REFUSED = /^(UNAUTHORIZED|INVALID_TOKEN|TOKEN_EXPIRED|TOKEN_NOT_YET_VALID|FORBIDDEN)$/;

let view = "health";
let looking = null;
let seenAt = 0;

async function look() {
  clearTimeout(look.timer);
  look.timer = setTimeout(look, EVERY_MS);
  if (!desk.login || document.hidden || byId("change").open || looking) return;
  looking = VIEWS[view]();
  try {
    await looking;
    seenAt = Date.now();
    show("Live", "good");
  } catch (error) {
    failed(error);
  } finally {
    looking = null;
  }
}

function show(text, kind) {
  const chip = byId("connection");
  setText(chip, text);
  chip.className = `chip ${kind}`;
}

function failed(error) {
  if (REFUSED.test(error.code)) {
    leave();
    setText(byId("entrance-problem"), explain(error));
    return;
  }
  const old = seenAt ? `: data is ${Math.round((Date.now() - seenAt) / 1000)} s old` : "";
  show(`No answer${old}`, "bad");
  if (error.code !== "UNREACHABLE" && error.code) say(explain(error), "error");
}

function leave() {
  desk.login = null;
  forgetUser();
  byId("desk").hidden = byId("log-out").hidden = true;
  byId("entrance").hidden = false;
  for (const id of ["change", "details"]) if (byId(id).open) byId(id).close();
  for (const body of document.querySelectorAll("#desk tbody, .tiles")) body.replaceChildren();
  show("Log in", "");
}

byId("entrance-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim().replace(/^Bearer\s+/i, "");
  setText(byId("entrance-problem"), token ? "" : "The token is missing.");
  if (!token) return;
  desk.login = new TokenLogin(token);
  try {
    await desk.read("/engine");
  } catch (error) {
    desk.login = null;
    setText(byId("entrance-problem"), explain(error));
    return;
  }
  byId("token").value = "";
  byId("entrance").hidden = true;
  byId("desk").hidden = byId("log-out").hidden = false;
  look();
});
byId("log-out").addEventListener("click", leave);

beginUsers();
beginChecks();
beginAudit(failed);
tabs(byId("views"), (button) => {
  view = button.getAttribute("aria-controls");
  look();
});
