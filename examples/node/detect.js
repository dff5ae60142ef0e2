// Streams pictures over DetectionService.Detect and prints one line a picture. Made from the .proto files alone:
//
//   node detect.js --server localhost:50051 street.jpg photos/*.png
//
// Exits 0 when every picture was answered, 1 when some were not, 2 when the call failed.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTO = process.env.FRAMEWIRE_PROTO ?? path.join(__dirname, '..', '..', 'proto');
const OPTIONS = { includeDirs: [PROTO], keepCase: true, enums: String, longs: String, defaults: true, oneofs: true };
const { framewire } = grpc.loadPackageDefinition(protoLoader.loadSync('framewire/v1/detection.proto', OPTIONS));
// As much of google/rpc/status.proto and error_details.proto as it takes to read why a call failed.
const RPC = protoLoader.fromJSON({ nested: {
  Any: { fields: { type_url: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } } },
  Status: { fields: { details: { rule: 'repeated', type: 'Any', id: 3 } } },
  ErrorInfo: { fields: { reason: { type: 'string', id: 1 } } },
} }, { keepCase: true, defaults: true });

// The reason in the ErrorInfo of a call's status, for example UNKNOWN_MODEL; '' when there is none.
function reasonOf(status) {
  for (const bytes of status.metadata.get('grpc-status-details-bin')) {
    for (const { type_url, value } of RPC.Status.deserialize(bytes).details) {
      if (type_url.endsWith('/google.rpc.ErrorInfo')) return RPC.ErrorInfo.deserialize(value).reason;
    }
  }
  return '';
}

// What became of a frame. Without `detections` nobody knows what is in it, which is not the same as nothing.
function describe(result) {
  switch (result.outcome) {
    case 'detections': {
      const found = result.detections.detections.map((item) => `${item.label} ${item.score.toFixed(2)}`);
      return { ok: true, text: found.join(', ') || 'nothing found' };
    }
    case 'dropped': // on purpose: under WAIT only when the server is short of memory, or stops
      return { ok: false, text: `dropped: ${result.dropped.reason}` };
    case 'error': // of this frame alone
      return { ok: false, text: `error: ${result.error.reason} ${result.error.message}` };
    default: // a later version's outcome
      return { ok: false, text: 'error: an outcome that this client does not know' };
  }
}

function detect(server, model, files) {
  const keepalive = { 'grpc.keepalive_time_ms': 30000 }; // notices a server that vanished
  const client = new framewire.v1.DetectionService(server, grpc.credentials.createInsecure(), keepalive);
  const call = client.Detect();
  const unanswered = new Map(); // from frame_id to file
  let next = 0; // index of the next file
  let window = 0; // none before StreamStarted
  let maxBytes = 0;
  let open = true; // whether frames may still be sent
  let failed = 0;

  function report(file, { ok, text }) {
    console.log(`${file}: ${text}`);
    failed += ok ? 0 : 1;
  }

  // Sends what the window has room for. That bounds what waits in memory, too: `write` need not be awaited.
  function send() {
    while (open && next < files.length && unanswered.size < window) {
      const file = files[next++];
      try {
        const content = fs.readFileSync(file);
        if (content.length > maxBytes) throw new Error(`${content.length} bytes, the server takes ${maxBytes}`);
        const encoding = content[0] === 0x89 ? 'FRAME_ENCODING_PNG' : 'FRAME_ENCODING_JPEG';
        unanswered.set(String(next), file);
        call.write({ frame: { frame_id: next, encoding, content } });
      } catch (error) {
        report(file, { ok: false, text: `error: ${error.message}` });
      }
    }
    if (open && next === files.length) halfClose();
  }

  function halfClose() { // no more frames; what was sent is still answered
    open = false;
    call.end();
  }

  call.on('data', (response) => {
    if (response.payload === 'started') {
      ({ window, limits: { max_frame_bytes: maxBytes } } = response.started);
    } else if (response.payload === 'flow_update') {
      window = response.flow_update.window; // 0 means pause
    } else if (response.payload === 'draining') {
      console.error('the server is stopping: send the rest to another one');
      if (open) halfClose();
    } else if (response.payload === 'result') {
      const id = response.result.frame_id;
      report(unanswered.get(id), describe(response.result));
      unanswered.delete(id);
    } // kinds that this client does not know are for later ones
    send();
  });
  call.on('error', () => {}); // 'status' comes, too, and also when all is well
  call.on('status', (status) => {
    for (const file of unanswered.values()) report(file, { ok: false, text: 'not answered' });
    for (const file of files.slice(next)) report(file, { ok: false, text: 'not sent' });
    const done = status.code === grpc.status.OK;
    if (!done) console.error(`${[grpc.status[status.code], reasonOf(status)].join(' ').trim()}: ${status.details}`);
    process.exitCode = done ? Math.min(failed, 1) : 2;
    client.close();
  });
  call.write({ config: { model, overload: { wait: {} }, stream_name: 'node' } });
}

const text = (value) => ({ type: 'string', default: value });
const options = { server: text('localhost:50051'), model: text('') };
const { values, positionals } = parseArgs({ options, allowPositionals: true });
process.exitCode = 2; // until the call's status says better
if (positionals.length > 0) detect(values.server, values.model, positionals);
else console.error('usage: node detect.js [--server HOST:PORT] [--model NAME] PICTURE...');
