// Calls methods of GenAuth's own client and prints what they gave back, one JSON object for all of them.
// Stdin: {"options": AuthenticationClient's, "calls": [["getIdentities"], ["unlinkExtIdp", {"extIdpId": "…"}]]}
const { AuthenticationClient } = require("authing-node-sdk");

async function main() {
  const { options, calls } = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const client = new AuthenticationClient(options);
  const answers = [];
  for (const [method, ...args] of calls) answers.push(await client[method](...args));
  process.stdout.write(JSON.stringify(answers));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
