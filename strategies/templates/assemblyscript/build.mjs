// Builds my-strategy.wasm: compiles src/ with AssemblyScript and makes a component of the result.

import { readFile, writeFile } from "node:fs/promises";

import { componentEmbed, componentNew } from "@bytecodealliance/jco-transpile/wasm-tools";
import { main as compile } from "assemblyscript/asc";
import binaryen from "assemblyscript/binaryen";

const COMPONENT = "my-strategy.wasm";
const INTERFACE = "kv:placement/strategy@0.2.0";

// The component model's names of the functions that src/exports.ts exports. An AssemblyScript name
// cannot have such characters.
const NAMES = {
    describe: `${INTERFACE}#describe`,
    assign: `${INTERFACE}#assign`,
    realloc: "cabi_realloc",
};

// Memory is taken and never given back, for an instance answers two questions at most; and a failed
// assertion calls our own function instead of an import.
const OPTIONS = [
    "src/exports.ts", "--outFile", "module.wasm",
    "-O3", "--runtime", "stub", "--use", "abort=src/exports/abort",
];

const files = {};
const { error, stderr } = await compile(OPTIONS, {
    writeFile: (name, contents) => void (files[name] = contents),
});
if (error) {
    console.error(`${stderr}\n${error.message}`);
    process.exit(1);
}

const module = binaryen.readBinary(files["module.wasm"]);
for (const [name, componentName] of Object.entries(NAMES)) {
    const { value } = binaryen.getExportInfo(module.getExport(name));
    module.removeExport(name);
    module.addFunctionExport(value, componentName);
}

const witSource = await readFile("wit/placement.wit", "utf8");
const typed = await componentEmbed({ binary: module.emitBinary(), witSource });
const component = await componentNew(typed);
await writeFile(COMPONENT, component);
console.log(`${COMPONENT} (${component.length} bytes)`);
