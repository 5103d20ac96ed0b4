// Calls the service at SVC_URL with the genuine client and prints what it resolved to, as one JSON object.
// SVC_KEY is the API key; the arguments are a picture and a file that is none.
const fs = require('fs');
const { Imageclassification, ImageFeatureExtraction, ObjectDetection, ProductImageClassification, SimilarityScoring } = require('sap-leonardo');

const base = process.env.SVC_URL;
const key = process.env.SVC_KEY;
const [picture, notAPicture] = process.argv.slice(2);
const features = base + '/api/v2/image/feature-extraction';

const vectors = JSON.stringify({ 0: [{ id: 'a', vector: [1, 0] }, { id: 'b', vector: [3, 4] }] });

const calls = {
  classification: () => new Imageclassification(key, base).classification(picture),
  fromBuffer: () => new Imageclassification(key, base).classification(fs.readFileSync(picture)),
  baseWithSlash: () => new Imageclassification(key, base + '/').classification(picture),
  product: () => new ProductImageClassification(key, base).inferenceSync(picture),
  features: () => new ImageFeatureExtraction(undefined, 'Bearer ' + key, features).featureExtraction(picture),
  ofModel: () => new ImageFeatureExtraction(key, null, features).featureExtraction(picture, 'digits', '1'),
  unknownModel: () => new ImageFeatureExtraction(null, 'Bearer ' + key, features).featureExtraction(picture, 'x', '9'),
  notAPicture: () => new Imageclassification(key, base).classification(notAPicture),
  productNotAPicture: () => new ProductImageClassification(key, base).inferenceSync(notAPicture),
  wrongUrl: () => new ImageFeatureExtraction(key, undefined, base + '/api/v2/image/nothing').featureExtraction(picture),
  similar: () => new SimilarityScoring(key, base).similarityScoring(null, vectors, '{"numSimilarVectors": 1}'),
  similarOfNothing: () => new SimilarityScoring(key, base).similarityScoring(null, vectors, '{}'),
  notServed: () => new ObjectDetection(key, base).objectDetection(picture),
};

(async () => {
  const answers = {};
  for (const [name, call] of Object.entries(calls)) answers[name] = await call();
  console.log(JSON.stringify(answers));
})();
