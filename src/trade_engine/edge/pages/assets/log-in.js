// The dialog to log in with, and what is shown of who is.

import { byId, setText, tabs } from "./dom.js";
import { clockAhead, explain } from "./api.js";
import { KeyLogin, mayUseKey, TokenLogin } from "./login.js";

export class LogInDialog {
  /** @param {{enter: function(object): Promise<void>, leave: function()}} told `enter` is given the login */
  constructor(told) {
    this.told = told;
    this.dialog = byId("login");
    this.isLoggedIn = false;
    tabs(this.dialog.querySelector("[role=tablist]"));
    byId("log-in").addEventListener("click", () => (this.isLoggedIn ? told.leave() : this.open()));
    byId("login-cancel").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.forget());
    byId("login-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    if (!mayUseKey()) {
      setText(byId("key-hint"), "An API key needs https here: this page came unencrypted from another machine.");
      byId("key-id").disabled = byId("key-secret").disabled = true;
    }
  }

  open() {
    this.dialog.showModal();
    byId("token").focus();
  }

  /** Leave no secret behind in the fields. */
  forget() {
    for (const id of ["token", "key-id", "key-secret"]) byId(id).value = "";
    setText(byId("login-problem"), "");
  }

  show(isLoggedIn, name = "") {
    this.isLoggedIn = isLoggedIn;
    setText(byId("user"), name);
    setText(byId("log-in"), isLoggedIn ? "Log out" : "Log in");
  }

  async submit() {
    const problem = byId("login-problem");
    setText(problem, "");
    try {
      await this.told.enter(await this.login());
      this.dialog.close();
    } catch (error) {
      setText(problem, error.code ? explain(error) : error.message);
    }
  }

  async login() {
    if (!byId("token-panel").hidden) {
      const token = byId("token").value.trim().replace(/^Bearer\s+/i, "");
      if (!token) throw new Error("The token is missing.");
      return new TokenLogin(token);
    }
    const [id, secret] = [byId("key-id").value.trim(), byId("key-secret").value.trim()];
    if (!id || !secret) throw new Error("Key and secret are both needed.");
    return new KeyLogin(id, secret, await clockAhead());
  }
}
