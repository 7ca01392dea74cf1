// nodemailer's pool: node send.js HOST PORT MAILS CONNECTIONS SIZE RUN
'use strict';
const net = require('net');
const nodemailer = require('nodemailer');

const [host, port, ...rest] = process.argv.slice(2);
const [mails, connections, size, run] = rest.map(Number);
const envelope = { from: 'a@posthaste.example', to: ['b@posthaste.example'] };
const filler = ('x'.repeat(70) + '\r\n').repeat(size / 72 + 1);

function raw(number) {
  const id = `${run}.${1000000000 + number}@posthaste.example`;
  const head = `Message-ID: <${id}>\r\nFrom: <${envelope.from}>\r\nTo: <${envelope.to}>\r\n\r\n`;
  return head + filler.slice(0, size - head.length - 2) + '\r\n';
}

async function main() {
  if (host === '--version') {
    console.log(`${require('nodemailer/package.json').version}, Node.js ${process.version}`);
    return;
  }
  const start = performance.now();
  const transport = nodemailer.createTransport({
    host, port: Number(port), pool: true, maxConnections: connections, maxMessages: Infinity,
    secure: false, ignoreTLS: true,
    getSocket(options, callback) {
      const socket = net.connect({ host, port: Number(port), noDelay: true });
      socket.once('connect', () => callback(null, { connection: socket }));
      socket.once('error', callback);
    },
  });
  let next = 0;
  const sender = async () => {
    while (next < mails) await transport.sendMail({ envelope, raw: raw(next++) });
  };
  await Promise.all(Array.from({ length: connections }, sender));
  console.log((performance.now() - start) / 1000);
  transport.close();
}

main();
