// The application of application.py under node: CERTIFICATE PORT TLS-PORT.
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');

const [certificate, port, tlsPort] = process.argv.slice(2);
const pem = fs.readFileSync(certificate);

function answer(request, response) {
  const asked = new URL(request.url, 'http://localhost').searchParams;
  let size = 0;
  request.on('data', (data) => { size += data.length; });
  request.on('end', () => {
    setTimeout(() => {
      const body = request.method === 'POST'
        ? `received ${size} bytes\n` : 'x'.repeat(Number(asked.get('size')));
      response.setHeader('Content-Length', body.length);
      response.end(body);
    }, 1000 * Number(asked.get('wait')));
  });
}

http.createServer(answer).listen(Number(port), '127.0.0.1');
https.createServer({ cert: pem, key: pem }, answer).listen(Number(tlsPort), '127.0.0.1');
