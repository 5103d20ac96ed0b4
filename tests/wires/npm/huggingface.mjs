// Calls the service at SVC_URL with the genuine client and prints what came of it, as one JSON object by name.
// SVC_KEY is the API key; the arguments are a picture, a file that is none, an alias, and the names of the calls to
// make, all if there are none.
import { readFile } from 'node:fs/promises';
import { InferenceClient } from '@huggingface/inference';

const base = process.env.SVC_URL;
const [picture, notAPicture, alias, ...names] = process.argv.slice(2);
const bytes = await readFile(picture);
const text = await readFile(notAPicture);
const data = new Blob([bytes], { type: 'image/png' });
const once = { retry_on_error: false };

// The hosts of the hub and of its router are constants of the client.
const here = (url, init) => fetch(String(url).replace(/^https:\/\/(router\.)?huggingface\.co/, base), init);

const client = new InferenceClient(process.env.SVC_KEY);
const model = (id) => client.endpoint(`${base}/models/${id}`);

const calls = {
  typed: () => model('digits').imageClassification({ data }, once),
  untyped: () => model('digits').imageClassification({ data: new Blob([bytes]) }, once),
  mistyped: () => model('digits').imageClassification({ data: new Blob([bytes], { type: 'text/plain' }) }, once),
  arrayBuffer: () => model('digits').imageClassification({ data: new Uint8Array(bytes).buffer }, once),
  inputs: () => model('digits').imageClassification({ inputs: data }, once),
  byAlias: () => model(alias).imageClassification({ data }, once),
  byId: () => client.imageClassification({ data, model: 'digits', provider: 'hf-inference' }, { fetch: here, ...once }),
  byIdOfAlias: () => client.imageClassification({ data, model: alias }, { fetch: here, ...once }),
  notAPicture: () => model('digits').imageClassification({ data: new Blob([text]) }, once),
  unknownModel: () => model('google/unknown').imageClassification({ data }, once),
  unknownId: () => client.imageClassification({ data, model: 'google/unknown' }, { fetch: here, ...once }),
  patient: () => model('digits').imageClassification({ data }),
};

const answers = {};
for (const name of names.length ? names : Object.keys(calls)) {
  answers[name] = await calls[name]().catch((error) => ({ kind: error.name, text: error.message, ...error.httpResponse }));
}
console.log(JSON.stringify(answers));
