// SPDX-License-Identifier: GPL-3.0-or-later
// with-mqttjs.js VERSION HOST CERTIFICATE KEY CA CLIENT TOPIC: what clients.py tells of, with mqtt.js.
"use strict";
const fs = require("fs");
const mqtt = require("mqtt");
const [version, host, certificate, key, ca, name, base] = process.argv.slice(2);

function enter(suffix, clean) {
  const heard = [], waiting = [];
  const options = {
    protocolVersion: Number(version), clientId: `${name}/${suffix}`, clean, reconnectPeriod: 0,
    connectTimeout: 6000, cert: fs.readFileSync(certificate), key: fs.readFileSync(key),
    ca: fs.readFileSync(ca), rejectUnauthorized: true, checkServerIdentity: () => undefined,
  };
  if (version === "5") options.properties = { sessionExpiryInterval: clean ? 0 : 60 };
  const c = mqtt.connect(`mqtts://${host}:8883`, options);
  c.on("message", (topic, payload, p) => {
    const line = `${topic.slice(base.length + 1)} ${p.qos} ${Number(p.retain)} ${payload}`;
    if (waiting.length) waiting.shift()(line); else heard.push(line);
  });
  c.take = () => new Promise((resolve, reject) => {
    if (heard.length) return resolve(heard.shift());
    setTimeout(() => reject(new Error("no message")), 6000).unref();
    waiting.push(resolve);
  }).then((line) => console.log(line));
  return new Promise((resolve, reject) => {
    c.once("connect", (connack) => { c.present = Number(connack.sessionPresent); resolve(c); });
    c.once("error", reject);
    c.once("close", () => reject(new Error("closed")));
  });
}

async function main() {
  const one = await enter("one", true);
  await one.subscribeAsync(`${base}/a`, { qos: 2 });
  for (const qos of [0, 1, 2]) {
    await one.publishAsync(`${base}/a`, "m", { qos });
    await one.take();
  }
  await one.publishAsync(`${base}/r`, "kept", { qos: 1, retain: true });
  await one.subscribeAsync(`${base}/r`, { qos: 1 });
  await one.take();
  await one.publishAsync(`${base}/r`, "", { qos: 1, retain: true });
  await one.take();
  let two = await enter("two", false);
  await two.subscribeAsync(`${base}/p`, { qos: 2 });
  await two.endAsync();
  await one.publishAsync(`${base}/p`, "later", { qos: 2 });
  two = await enter("two", false);
  console.log(`present ${two.present}`);
  await two.take();
  await two.endAsync();
  await one.endAsync();
}

setTimeout(() => { console.log("failed: no end"); process.exit(1); }, 25000).unref();
main().then(() => process.exit(0), (e) => { console.log(`failed: ${e.message}`); process.exit(1); });
