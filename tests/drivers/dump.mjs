// Prints what every device definition of zigbee-herdsman-converters exposes, one JSON object a line, as bridge/devices carries it:
//   node dump.mjs FOLDER      FOLDER is where `npm install zigbee-herdsman-converters` was run
// Exposes that are a function are asked with a stand-in for a device without endpoints. The last line counts: {"definitions": n, ...}.
import {createRequire} from "node:module";
import {readdirSync} from "node:fs";
import path from "node:path";

const folder = path.resolve(process.argv[2] ?? ".");
const require = createRequire(path.join(folder, "node_modules", "x.js"));
const root = path.join(folder, "node_modules", "zigbee-herdsman-converters");
const {prepareDefinition} = require("zigbee-herdsman-converters");

const standIn = {isDummyDevice: true, endpoints: [], ieeeAddr: "0x0000000000000000", getEndpoint: () => undefined, meta: {}};
const counts = {definitions: 0, failed: [], functions: 0, version: require("zigbee-herdsman-converters/package.json").version};
const lines = [];

for (const file of readdirSync(path.join(root, "dist", "devices")).filter((name) => name.endsWith(".js") && name !== "index.js").sort()) {
    const found = require(path.join(root, "dist", "devices", file));
    for (const raw of found.definitions ?? found.default ?? []) {
        counts.definitions += 1;
        try {
            const definition = prepareDefinition(raw);
            const isFunction = typeof definition.exposes === "function";
            counts.functions += isFunction ? 1 : 0;
            const exposes = isFunction ? definition.exposes(standIn, {}) : definition.exposes;
            const {vendor, model, description} = definition;
            lines.push(JSON.stringify({vendor, model, description, exposes}));
        } catch (error) {
            counts.failed.push(`${file} ${raw.vendor} ${raw.model}: ${error.message}`);
        }
    }
}
process.stdout.write(lines.join("\n") + "\n" + JSON.stringify(counts) + "\n");
