// Compile a JSON Schema of draft 2020-12 in the strict mode of ajv: node compile.mjs SCHEMA
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";

const schema = JSON.parse(readFileSync(process.argv[2], "utf8"));
new Ajv2020({ strict: true }).compile(schema);
