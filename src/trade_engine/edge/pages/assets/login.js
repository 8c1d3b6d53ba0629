// Who is logged in: a token, or an API key and its secret.  Kept in this module's memory, nowhere else.

const encoder = new TextEncoder();
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Whether a secret may be typed here: the page came over https, or from this machine. */
export function mayUseKey() {
  return window.isSecureContext && (location.protocol === "https:" || ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname));
}

export class TokenLogin {
  constructor(token) {
    this.token = token;
  }

  async headers() {
    return { Authorization: `Bearer ${this.token}` };
  }

  async command() {
    return { op: "auth", token: this.token };
  }
}

export class KeyLogin {
  /** @param {number} aheadMs how far this machine's clock is ahead of the server's */
  constructor(id, secret, aheadMs) {
    if (!mayUseKey()) throw new Error("An API key needs https, or this machine itself (localhost).");
    this.id = id;
    this.aheadMs = aheadMs;
    this.key = crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  }

  async signed(method, target, body) {
    const timestamp = Math.floor(Date.now() - this.aheadMs);
    const nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
    const text = encoder.encode(`${timestamp}\n${nonce}\n${method}\n${target}\n${body}`);
    return { timestamp, nonce, signature: hex(await crypto.subtle.sign("HMAC", await this.key, text)) };
  }

  async headers(method, target, body) {
    const { timestamp, nonce, signature } = await this.signed(method, target, body);
    return { "X-API-Key": this.id, "X-API-Timestamp": String(timestamp), "X-API-Nonce": nonce, "X-API-Signature": signature };
  }

  async command() {
    return { op: "auth", api_key: this.id, ...(await this.signed("GET", "/ws", "")) };
  }
}
