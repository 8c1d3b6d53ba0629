// The REST API of this server.

export class ApiError extends Error {
  constructor(code, message, details = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** One request: its `data` and `meta`; ApiError if it is refused or nobody answers within 15 s. */
export async function ask(method, target, { login = null, body = null } = {}) {
  const path = `/api/v1${target}`;
  const text = body === null ? "" : JSON.stringify(body);
  const headers = login ? await login.headers(method, path, text) : {};
  if (body !== null) headers["Content-Type"] = "application/json";
  let answer;
  try {
    const signal = AbortSignal.timeout(15_000);
    const options = { method, headers, body: body === null ? null : text, cache: "no-store", credentials: "omit", signal };
    const response = await fetch(path, options);
    answer = await response.json();
  } catch {
    throw new ApiError("UNREACHABLE", "The engine does not answer.");
  }
  if (!answer.success) throw new ApiError(answer.error.code, answer.error.message, answer.error.details);
  return { data: answer.data, meta: answer.meta };
}

/** Only the data of a GET. */
export async function read(target, login = null) {
  return (await ask("GET", target, { login })).data;
}

/** How far this machine's clock is ahead of the server's, in ms. */
export async function clockAhead() {
  const sent = Date.now();
  const { milliseconds } = await read("/time");
  return (sent + Date.now()) / 2 - milliseconds;
}

/** What a refusal says to people: its message, and what its details add. */
export function explain(error) {
  const { available, required, lowest, highest, nearest } = error.details ?? {};
  const more = [];
  if (available !== undefined) more.push(`available ${available}`);
  if (required !== undefined) more.push(`needed ${required}`);
  if (lowest !== undefined) more.push(`${lowest} to ${highest} pass`);
  if (nearest) more.push(`nearest: ${nearest}`);
  return `${error.message}${more.length ? ` (${more.join(", ")})` : ""}${error.code ? ` [${error.code}]` : ""}`;
}
