// A Forward server of @fluent-org/logger: prints its port, then every entry that comes, as lines of JSON.
// node server.js '{"key": …, "users": {…}}'; ends with its standard input.
const { FluentServer, EventTime } = require("@fluent-org/logger");

const wanted = JSON.parse(process.argv[2]);
const options = { listenOptions: { host: "127.0.0.1", port: 0 } };
if (wanted.key) {
  options.security = { serverHostname: "node.test", sharedKey: wanted.key, authorize: !!wanted.users, userDict: wanted.users };
}

// Bytes are written as {"bin": hexadecimal digits}.
const plain = (_name, value) =>
  value && value.type === "Buffer" ? { bin: Buffer.from(value.data).toString("hex") } : value;
const bytes = value => (value instanceof Uint8Array ? Buffer.from(value) : value);

const server = new FluentServer(options);
server.on("entry", (tag, time, record) => {
  const when = time instanceof EventTime ? [time.epoch, time.nano] : [time, null];
  const made = Object.fromEntries(Object.entries(record).map(([name, value]) => [name, bytes(value)]));
  process.stdout.write(JSON.stringify({ tag, time: when, record: made }, plain) + "\n");
});
server.listen().then(() => process.stdout.write(JSON.stringify({ port: server.port }) + "\n"));
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
