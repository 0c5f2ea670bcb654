// Loaded with `node --import`: sends what is meant for www.wixapis.com to the sandbox, and nothing anywhere else.
const target = new URL(process.env.SANDBOX_URL);
const send = globalThis.fetch;

globalThis.fetch = (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input);
  if (url.hostname !== "www.wixapis.com") {
    throw new Error(`a request to ${url.hostname} was not expected`);
  }
  url.protocol = target.protocol;
  url.host = target.host;
  return send(input instanceof Request ? new Request(url, input) : url, init);
};
