// Asks the model, aside from the page, which so stays awake and can stop it. Node runs it too, before a page is written.

const KINDS = {
  float32: Float32Array, float64: Float64Array, float16: globalThis.Float16Array ?? Uint16Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array, bool: Uint8Array,
};
let ort, session;

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function unpack(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function open({ library, wasm, model, told }) {
  if (!library.startsWith("file:")) {
    library = URL.createObjectURL(new Blob([await unpack(library)], { type: "text/javascript" }));
  }
  ort = await import(library);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpack(wasm);
  session = await ort.InferenceSession.create(await unpack(model), { executionProviders: ["wasm"], logSeverityLevel: 4 });
  return { told: JSON.parse(new TextDecoder().decode(await unpack(told))) };
}

// Numbers come in base64 or as a list; where there are fewer than the dimensions say, they are held over time.
function values({ dtype, data, dims }) {
  if (dtype === "string") return data;
  const Kind = KINDS[dtype];
  const big = Kind === BigInt64Array || Kind === BigUint64Array;
  const once = typeof data === "string" ? new Kind(bytes(data).buffer) : Kind.from(big ? data.map(BigInt) : data);
  if (!dims) return once;
  const all = new Kind(dims.reduce((product, dim) => product * dim, 1));
  for (let place = 0; once.length && place < all.length; place += once.length) all.set(once, place);
  return all;
}

async function ask({ feeds, wanted }) {
  const given = Object.fromEntries(feeds.map((feed) => [feed.name, new ort.Tensor(feed.dtype, values(feed), feed.dims)]));
  const begun = performance.now();
  const answers = await session.run(given, wanted);
  const seconds = (performance.now() - begun) / 1000;
  return { seconds, answers: wanted.map((name) => ({ name, data: answers[name].data, dims: answers[name].dims })) };
}

self.onmessage = async ({ data }) => {
  try {
    const does = data.model ? open(data) : data.feeds ? ask(data) : { values: data.decode.map(values) };
    self.postMessage({ id: data.id, ...(await does) });
  } catch (error) {
    // "Can't create a session. ERROR_CODE: 1, ERROR_MESSAGE: /…/model.cc:203 onnxruntime::Model::Model(…) Unsupported …"
    const said = String(error?.message ?? error).trim().split("\n")[0];
    self.postMessage({ id: data.id, error: said.replace(/^.*ERROR_MESSAGE: (\/\S+:\d+ .*?\) )?/, "").replace(/\.$/, "") });
  }
};
