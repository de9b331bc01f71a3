// A Forward client of @fluent-org/logger: sends the events on its standard input, and says how many were taken.
// node client.js '{"port": …, "mode": …, "ack": …, "key": …, "user": …, "password": …}'; one event is a line of JSON.
const { FluentClient, EventTime } = require("@fluent-org/logger");

const wanted = JSON.parse(process.argv[2]);
const options = {
  eventMode: wanted.mode,
  socket: { host: "127.0.0.1", port: wanted.port, timeout: 20000, disableReconnect: true },
  disableAutoconnect: true,
  milliseconds: true,
  flushInterval: 20,
  disconnect: { waitForPending: true, waitForPendingDelay: 20000 },
};
if (wanted.ack) options.ack = { ackTimeout: 20000 };
if (wanted.key) {
  options.security = { clientHostname: "node.test", sharedKey: wanted.key };
  if (wanted.user) Object.assign(options.security, { username: wanted.user, password: wanted.password });
}

const bytes = (_name, value) => (value && value.bin !== undefined ? Buffer.from(value.bin, "hex") : value);

let failure = new Error("the events were not taken");
let sent = null;

const run = async () => {
  const client = new FluentClient("ringtap", options);
  client.socketOn("error", error => (failure = error));
  await client.connect();
  let text = "";
  for await (const piece of process.stdin) text += piece;
  const events = text.trim().split("\n").map(line => JSON.parse(line, bytes));
  await Promise.all(events.map(({ label, time, record }) => client.emit(label, record, new EventTime(...time))));
  await client.shutdown();
  sent = events.length;
};

// A promise that is never settled ends the process, too: nothing is waited for any more.
process.on("exit", () => {
  if (sent !== null) return process.stdout.write(JSON.stringify({ sent }) + "\n");
  process.stderr.write(`${failure.name}: ${failure.message}\n`);
  process.exitCode = 1;
});
run().catch(error => (failure = error));
