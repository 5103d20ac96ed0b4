// What the reference reads from the OpenAPI document: calls, their inputs and bodies.
let components = {};

/** Keep the schemas of the document, to which its parts refer. */
export function keep(spec) {
  components = (spec.components || {}).schemas || {};
}

/** Return a schema, the one that it refers to if it is a reference. */
export function follow(schema) {
  const name = schema && schema.$ref ? schema.$ref.split("/").pop() : "";
  return name ? components[name] || {} : schema || {};
}

export function kindOf(schema) {
  const found = follow(schema);
  if (isFile(found)) return "file";
  if (found.anyOf) return found.anyOf.map(kindOf).filter((kind) => kind && kind !== "null").join(" or ");
  if (found.type === "array") return isFile(follow(found.items)) ? "files" : `list of ${kindOf(found.items)}`;
  return [].concat(found.type || "any").filter((kind) => kind !== "null").join(" or ");
}

export function isFile(schema) {
  return schema.format === "binary" || Boolean(schema.contentMediaType);
}

/** Return every input of a call from its path, query and headers, without options that its body has as well. */
export function inputsOf(call, body) {
  const own = body ? follow(body.schema).properties || {} : {};
  const inputs = (call.parameters || []).map((parameter) => ({ ...parameter, schema: follow(parameter.schema) }));
  return inputs.filter(({ name, in: where }) => where !== "query" || !(name in own));
}

export function bodiesOf(call) {
  return Object.entries((call.requestBody || {}).content || {}).map(([type, body]) => ({ type, ...body }));
}

/** Return the calls of a tag; one that is served at several paths is one call, with the others named below its first. */
export function callsOf(spec, tag) {
  const found = new Map();
  for (const [path, entry] of Object.entries(spec.paths)) {
    for (const [method, call] of Object.entries(entry)) {
      if (!call.tags.includes(tag)) continue;
      const same = `${method} ${call.summary} ${call.description}`;
      if (found.has(same)) found.get(same).others.push(path);
      else found.set(same, { path, method, call, others: [] });
    }
  }
  return [...found.values()];
}

/** Return whether a call needs no key. */
export function isFree(call) {
  return Array.isArray(call.security) && !call.security.length;
}
