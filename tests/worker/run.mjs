// Boots Pyodide, gives it a binding as workerd's is (cloudflare/workerd, ai-api), and runs inside.py.
// Usage: node run.mjs FOLDER REPOSITORY WHAT, where FOLDER has node_modules/pyodide, packages.zip, cache and
// expected.json, and WHAT is `imports` or `all`.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, repository] = process.argv.slice(2, 4).map((path) => resolve(path));
const entry = createRequire(`${folder}/`).resolve("pyodide");
const { loadPyodide } = await import(pathToFileURL(entry.replace(/\.js$/, ".mjs")));

const bytes = (piece) => Uint8Array.from(Buffer.from(piece, "base64"));

class InferenceUpstreamError extends Error {
  name = "InferenceUpstreamError";
}

class Ai {
  runs = 0;
  cancelled = 0;
  flaws = [];
  #answers;
  #raw;
  #controller;

  constructor(answers, raw) {
    this.#answers = answers;
    this.#raw = raw;
  }

  async run(model, inputs, options = {}) {
    const answer = this.#answers[Math.min(this.runs++, this.#answers.length - 1)];
    this.#check(model, inputs, options);
    if (answer.ending === "never begins") {
      return new Promise((_, reject) =>
        options.signal.addEventListener("abort", () => reject(options.signal.reason)),
      );
    }
    const response = new Response(this.#stream(answer), { status: answer.status, headers: answer.headers });
    if (options.returnRawResponse && this.#raw) return response;
    if (!response.ok) throw await refusal(response);
    return response.headers.get("content-type") === "application/json" ? await response.json() : response.body;
  }

  more() {
    this.#controller.enqueue(new TextEncoder().encode('data: {"response":"more"}\n\n'));
  }

  #check(model, inputs, options) {
    const plain = (object) => Object.getPrototypeOf(object) === Object.prototype;
    if (!model.startsWith("@cf/google/gemma-4")) this.flaws.push(`model ${model}`);
    if (!plain(inputs) || !Array.isArray(inputs.messages) || !inputs.messages.every(plain)) this.flaws.push("inputs");
    if (!plain(options) || options.returnRawResponse !== true) this.flaws.push("options");
    if (!(options.signal instanceof AbortSignal)) this.flaws.push("signal");
    const { prefix, extraHeaders, sessionOptions, signal, ...sent } = options;
    new Headers(extraHeaders);
    JSON.stringify({ inputs, options: sent });
  }

  #stream({ pieces, ending }) {
    let place = 0;
    return new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
      },
      pull: (controller) => {
        if (place < pieces.length) controller.enqueue(bytes(pieces[place++]));
        else if (ending === "whole") controller.close();
        else if (ending === "cut") controller.error(new TypeError("Network connection lost."));
      },
      cancel: () => {
        this.cancelled++;
      },
    });
  }
}

async function refusal(response) {
  const body = await response.text();
  const { internalCode, description, errors } = JSON.parse(body);
  if (internalCode) return new InferenceUpstreamError(`${internalCode}: ${description}`);
  return new InferenceUpstreamError(errors?.length ? `${errors[0].code}: ${errors[0].message}` : body);
}

globalThis.makeEnv = (answers, raw) => ({ AI: new Ai(JSON.parse(answers), raw) });
globalThis.makeContext = () => {
  const promises = [];
  return { waitUntil: (promise) => promises.push(promise), done: () => Promise.all(promises) };
};

// Node would print the whole of Pyodide's line with an error.
process.on("uncaughtException", (error) => {
  console.error(error.message);
  process.exit(1);
});

const begin = performance.now();
const pyodide = await loadPyodide();
const boot = Math.round(performance.now() - begin);
pyodide.unpackArchive(new Uint8Array(readFileSync(`${folder}/packages.zip`)), "zip", { extractDir: "/packages" });
pyodide.mountNodeFS("/repository", repository);
pyodide.mountNodeFS("/cache", `${folder}/cache`);
pyodide.globals.set("what", process.argv[4]);
pyodide.globals.set("expected", readFileSync(`${folder}/expected.json`, "utf8"));
const report = await pyodide.runPythonAsync(`
import importlib, sys
sys.path[:0] = ["/packages"]
sys.path.append("/repository")
sys.pycache_prefix = "/cache"
await importlib.import_module("tests.worker.inside").run(what, "/repository", expected)
`);
console.log(JSON.stringify({ boot, ...JSON.parse(report) }));
process.exit(0); // timers that Python has cancelled are still there
