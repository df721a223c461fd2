// What a page tries (tests/reliability/attack.py): each trial returns what the page could read, or null. `name` is that of the variable that it
// tries to write.
async ({target, name, sockets}) => {
  const api = target + "/api", body = JSON.stringify({name, value: "x", tags: []}), found = [];
  const wait = ms => new Promise(done => setTimeout(() => done(null), ms));
  const trial = async (what, make) => {
    let read = null;
    try { read = await Promise.race([make(), wait(20000)]); } catch (error) { read = null; }
    found.push([what, read]);
  };
  const read = async (path, options) => { const got = await fetch(path, options); return got.type === "opaque" ? null : (await got.text()).slice(0, 60); };
  const json = {"Content-Type": "application/json"}, plain = {"Content-Type": "text/plain"};
  await trial("fetch GET", () => read(api + "/version"));
  await trial("fetch GET with credentials", () => read(api + "/version", {credentials: "include"}));
  await trial("fetch GET of the UI", () => read(target + "/ui-settings"));
  await trial("fetch POST JSON", () => read(api + "/variables/", {method: "POST", headers: json, body}));
  await trial("fetch POST with a header of its own", () => read(api + "/flows/filter", {method: "POST", headers: {...json, "X-Own": "1"}, body: "{}"}));
  for (const mode of ["cors", "no-cors"]) for (const credentials of ["omit", "include"]) {
    await trial(`fetch POST text/plain, ${mode}, ${credentials}`, () => read(api + "/variables/", {method: "POST", mode, credentials, headers: plain, body}));
    await trial(`fetch POST without a type, ${mode}, ${credentials}`, () => read(api + "/variables/", {method: "POST", mode, credentials, body: new Blob([body])}));
    await trial(`fetch POST form, ${mode}, ${credentials}`, () => read(api + "/variables/", {method: "POST", mode, credentials, body: new URLSearchParams({name, value: "x"})}));
  }
  await trial("fetch DELETE", () => read(api + "/variables/name/" + name, {method: "DELETE"}));
  await trial("XMLHttpRequest", () => new Promise((done, failed) => {
    const asked = new XMLHttpRequest();
    asked.open("POST", api + "/flow_runs/filter"); asked.withCredentials = true;
    asked.onload = () => done(asked.responseText.slice(0, 60)); asked.onerror = failed; asked.send("{}");
  }));
  await trial("sendBeacon", async () => { navigator.sendBeacon(api + "/variables/", body); navigator.sendBeacon(api + "/variables/", new Blob([body])); await wait(300); });
  await trial("EventSource", () => new Promise((done, failed) => { const one = new EventSource(api + "/version"); one.onopen = () => done("open"); one.onerror = failed; }));
  const form = (enctype, fields, where) => {
    const made = Object.assign(document.createElement("form"), {method: "POST", action: api + "/variables/", enctype, target: where});
    for (const [key, value] of fields) made.append(Object.assign(document.createElement("input"), {name: key, value}));
    document.body.append(made); made.submit();
  };
  const smuggled = [[body.slice(0, -1) + ',"x":"', '"}']];
  for (const where of ["frame", "_blank"]) {
    document.body.append(Object.assign(document.createElement("iframe"), {name: "frame"}));
    await trial(`form text/plain with JSON in it, ${where}`, async () => { form("text/plain", smuggled, where); await wait(500); });
    await trial(`form urlencoded, ${where}`, async () => { form("application/x-www-form-urlencoded", [["name", name], ["value", "x"]], where); await wait(500); });
    await trial(`form multipart, ${where}`, async () => { form("multipart/form-data", [["name", name], ["value", "x"]], where); await wait(500); });
  }
  const loads = {img: "src", script: "src", iframe: "src", embed: "src", object: "data", link: "href", video: "src"};
  for (const [tag, attribute] of Object.entries(loads)) for (const path of ["/api/version", "/openapi.json", "/docs", "/", "/ui-settings"])
    await trial(`<${tag}> of ${path}`, async () => {
      const made = document.createElement(tag);
      if (tag === "link") made.rel = "stylesheet";
      made[attribute] = target + path; document.body.append(made); await wait(100);
    });
  for (const path of sockets) for (const protocols of [[], ["prefect"]])
    await trial(`WebSocket ${path} ${protocols}`, () => new Promise((done, failed) => {
      const one = new WebSocket(api.replace("http", "ws") + "/" + path, protocols);
      one.onopen = () => { one.close(); done("open"); }; one.onerror = failed;
    }));
  await wait(1500);
  return found;
}
