// A real browser that does what stdin says, a JSON object a line, and prints what came of it, a line each.
// {"page": "http://…"} opens a page; {"fetch": [address, options]} asks from it; {"cookies": ["a=b; Path=/"]} sets them from it.
// {"click": "Continue"} clicks that button and waits for an address with {"until": "…"} in it; {"popup": "http://…", "click": "…"}
// opens a popup from the page, clicks there and waits for its end. {"script": "…"} is run as one of the page's own; {"value": "…"}
// gives what that expression is there.
// Arguments: the browser's program, an empty folder for its profile.
const { chromium } = require("playwright-core");
const readline = require("readline");

const FLAGS = [
  "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--no-sandbox",
];

async function main() {
  const [executablePath, profile] = process.argv.slice(2);
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: FLAGS, locale: "zh-CN" });
  const page = context.pages()[0];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const step = JSON.parse(line);
    let result = null;
    if (step.page) await page.goto(step.page);
    if (step.cookies) await page.evaluate((cookies) => cookies.forEach((cookie) => (document.cookie = cookie)), step.cookies);
    if (step.script) await page.addScriptTag({ content: step.script });
    if (step.value) result = { text: JSON.stringify(await page.evaluate(step.value)) };
    if (step.fetch) result = await page.evaluate(ask, step.fetch);
    if (step.popup) result = await throughPopup(page, step);
    else if (step.click) {
      await page.getByRole("button", { name: step.click }).click();
      await page.waitForURL((url) => url.href.includes(step.until));
      result = { text: page.url() };
    }
    console.log(JSON.stringify(result));
  }
  await context.close();
}

async function throughPopup(page, { popup, click }) {
  const [opened] = await Promise.all([page.waitForEvent("popup"), page.evaluate((url) => void window.open(url, "", "popup"), popup)]);
  await Promise.all([opened.waitForEvent("close"), opened.getByRole("button", { name: click }).click()]);
  return { text: "closed" };
}

// Runs in the page.
async function ask([address, options]) {
  try {
    const response = await fetch(address, options);
    return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
  } catch (error) {
    return { error: String(error) };
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
