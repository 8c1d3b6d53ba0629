// The WebSocket of this server: it connects itself again, logs in again, and has its channels again.

import { ApiError } from "./api.js";

const SILENT_MS = 4_000; // then it is asked whether it is there
const DEAD_MS = 9_000; // and then it counts as lost
const ANSWER_MS = 15_000;
const PAUSES_MS = [250, 500, 1_000, 2_000, 4_000];
/** Logins that will not become good by trying again. */
const HOPELESS = /^(UNAUTHORIZED|INVALID_|TOKEN_|IP_NOT_ALLOWED|FORBIDDEN|SCOPE_MISSING|NONCE_|TIMESTAMP_)/;

export class Connection {
  /**
   * @param {{state: function(boolean, number), message: function(object), loggedOut: function(string)}} told
   *   `state`: whether it is live, and since when nothing was heard (ms since 1970).
   */
  constructor(told) {
    this.told = told;
    this.channels = new Map();
    this.waiting = new Map();
    this.number = 0;
    this.failures = 0;
    this.heardAt = Date.now();
    this.login = null;
    this.isLoggedIn = false;
    this.socket = null;
    this.connect();
    setInterval(() => this.look(), 1_000);
    window.addEventListener("online", () => this.connectNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.connectNow());
  }

  get isLive() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    this.beganAt = Date.now();
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.received(event);
    socket.onclose = () => this.lost(socket);
  }

  connectNow() {
    if (this.timer) this.connect();
  }

  async opened() {
    this.heardAt = Date.now();
    if (this.login) await this.authenticate().catch(() => {});
    if (!this.isLive) return;
    this.failures = 0;
    this.told.state(true, this.heardAt);
    for (const channel of this.channels.values()) this.begin(channel);
  }

  lost(socket) {
    if (socket !== this.socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.socket = null;
    this.isLoggedIn = false;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(new ApiError("CONNECTION_LOST", "The connection was lost before the answer."));
    }
    this.waiting.clear();
    this.told.state(false, this.heardAt);
    const pause = PAUSES_MS[Math.min(this.failures++, PAUSES_MS.length - 1)];
    this.timer = setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
  }

  look() {
    const silent = Date.now() - Math.max(this.heardAt, this.beganAt);
    if (this.socket && silent > DEAD_MS) this.lost(this.socket);
    else if (this.isLive && silent > SILENT_MS) this.ask({ op: "ping" }).catch(() => {});
    else if (!this.isLive) this.told.state(false, this.heardAt);
  }

  received(event) {
    this.heardAt = Date.now();
    const message = JSON.parse(event.data);
    if (message.type !== "response") {
      this.told.message(message);
      return;
    }
    const waiting = this.waiting.get(message.id);
    if (!waiting) return;
    this.waiting.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.success) waiting.resolve(message.data);
    else waiting.reject(new ApiError(message.error.code, message.error.message, message.error.details));
  }

  /** Send a command: its answer's data. */
  ask(command) {
    if (!this.isLive) return Promise.reject(new ApiError("NOT_CONNECTED", "There is no connection; nothing was sent."));
    return new Promise((resolve, reject) => {
      const id = ++this.number;
      const late = () => this.waiting.delete(id) && reject(new ApiError("CONNECTION_LOST", "No answer came in time."));
      this.waiting.set(id, { resolve, reject, timer: setTimeout(late, ANSWER_MS) });
      this.socket.send(JSON.stringify({ ...command, id }));
    });
  }

  // ---- logins

  /** Log in; ApiError if that is refused. */
  async logIn(login) {
    this.login = login;
    try {
      await this.authenticate();
    } catch (error) {
      this.login = null;
      throw error;
    }
    for (const channel of this.channels.values()) if (channel.isPrivate) this.begin(channel);
  }

  /** Forget the login; a connection belongs to its user for good, so a new one is made. */
  logOut() {
    this.login = null;
    this.failures = 0;
    if (this.socket) this.lost(this.socket);
    this.connectNow();
  }

  async authenticate() {
    try {
      await this.ask(await this.login.command());
      this.isLoggedIn = true;
    } catch (error) {
      if (HOPELESS.test(error.code) && this.login) {
        this.login = null;
        this.told.loggedOut(error);
      }
      throw error;
    }
  }

  // ---- channels

  /** Have a channel under a name of the page's own, instead of what had that name; null: none. */
  have(name, channel) {
    const before = this.channels.get(name);
    if (before && this.isLive) this.ask({ op: "unsubscribe", ...before.terms }).catch(() => {});
    this.channels.delete(name);
    if (!channel) return;
    this.channels.set(name, channel);
    this.begin(channel);
  }

  begin(channel) {
    if (!this.isLive || (channel.isPrivate && !this.isLoggedIn)) return;
    this.ask({ op: "subscribe", ...channel.terms }).catch(() => {
      // The engine may be starting: asked again while the channel is wanted.
      setTimeout(() => [...this.channels.values()].includes(channel) && this.begin(channel), 1_500);
    });
  }
}
