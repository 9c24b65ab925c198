// SPDX-License-Identifier: GPL-3.0-or-later
// aedes-gateway CONFIGURATION: aedes as a gateway would have it, for the comparison in `mqtt`: mutual
// TLS for devices; all that they publish goes upstream, and they hear PUBACK at once, as aedes does
// without a store. CONFIGURATION is a JSON object: port, prefix, and of `server` and `upstream` each
// the files ca, cert and key; of `upstream` also its url. NODE_PATH tells where aedes and mqtt are.
const fs = require('fs');
const tls = require('tls');
const { pathToFileURL } = require('url');

const config = JSON.parse(fs.readFileSync(process.argv[2]));
const read = (p) => ({
  ca: fs.readFileSync(p.ca), cert: fs.readFileSync(p.cert), key: fs.readFileSync(p.key),
});

async function main() {
  const { Aedes } = await import(pathToFileURL(require.resolve('aedes')));
  const upstream = require('mqtt').connect(config.upstream.url, {
    ...read(config.upstream), clientId: 'gw1', protocolVersion: 5, queueQoSZero: true,
  });
  const broker = await Aedes.createBroker({ concurrency: 1000 });
  broker.on('publish', (packet, client) => {
    if (client) upstream.publish(config.prefix + packet.topic, packet.payload, { qos: packet.qos });
  });
  const options = { ...read(config.server), requestCert: true, rejectUnauthorized: true,
    minVersion: 'TLSv1.3' };
  const server = tls.createServer(options, (socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    broker.handle(socket);
  });
  server.on('tlsClientError', () => {});
  upstream.once('connect', () => server.listen({ port: config.port, backlog: 4096 }));
}

main();
