// What the TypeScript client does, case by case: `node cases.mjs NAME` exits with 0 when it is right.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { mock } from "node:test";
import { setImmediate as immediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Hub, ProblemError, UnreachableError } from "@bizmatters/ide-orchestrator";

const { IDEO_URL, IDEO_TOKEN, THREAD, EXPIRED_TOKEN, SHORT_TOKEN, WS } = process.env;
const { WebSocket } = await import(pathToFileURL(WS));
const ways = [
  { transport: "websocket", format: "binary" },
  { transport: "websocket", format: "json" },
  { transport: "sse" },
];
const open = (options) => new Hub({ url: IDEO_URL, token: IDEO_TOKEN, WebSocket, ...options });
const hub = open();
const sha256 = (data) => createHash("sha256").update(data).digest("hex");

async function collect(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

async function aRun(prompt = "[[replay:short_run]]") {
  const workflow = await hub.workflows.create({ name: "demo", files: { "/plan.md": "# Plan\n" } });
  return { workflow, ...(await hub.refinements.start(workflow.id, { user_prompt: prompt })) };
}

// A WebSocket whose connections send these events at once, one a message; the last of the last one is the terminal.
function scripted(connections, text = "") {
  const end = connections.at(-1).at(-1);
  return class Scripted {
    static cursors = [];
    constructor(url) {
      const events = connections[Scripted.cursors.push(Number(new URL(url).searchParams.get("after"))) - 1];
      queueMicrotask(() => {
        for (const seq of events) {
          const event = seq === end ? { seq, terminal: {} } : { seq, token: { text } };
          this.onmessage({ data: JSON.stringify({ batch: { events: [event] } }) });
        }
      });
    }
    close() {}
  };
}

async function seqsOf(sockets) {
  const ticket = async () => ({ ticket: "t", websocket_url: "/ws?ticket=t" });
  const page = new Hub({ url: "http://hub", WebSocket: sockets });
  return (await collect(page.refinements.follow("thread", { ticket, format: "json" }))).map(({ seq }) => seq);
}

const cases = {
  async "refusals are problems"() {
    const missing = await hub.workflows.get(randomUUID()).catch((error) => error);
    assert(missing instanceof ProblemError);
    assert.deepEqual([missing.status, missing.code, missing.temporary], [404, "not_found", false]);
    assert(missing.traceId);
    const wrong = await hub.workflows.create({ name: "" }).catch((error) => error);
    assert.deepEqual(Object.keys(wrong.fields), ["name"]);
    const gone = await open({ url: "http://127.0.0.1:9", maxAttempts: 2 })
      .me()
      .catch((error) => error);
    assert(gone instanceof UnreachableError);
  },

  async "a stream that is refused says why, on every transport"() {
    const { thread_id } = await aRun();
    await collect(hub.refinements.follow(thread_id));
    for (const way of ways) {
      await assert.rejects(collect(hub.refinements.follow(randomUUID(), way)), { code: "not_found" });
      await assert.rejects(collect(hub.refinements.follow(thread_id, { ...way, after: 99 })), (error) => {
        assert.deepEqual([error.code, error.problem.last_seq], ["cursor_out_of_range", 52]);
        return true;
      });
      await assert.rejects(collect(open({ token: "no" }).refinements.follow(thread_id, way)), {
        code: "unauthenticated",
      });
      assert.deepEqual(await collect(hub.refinements.follow(thread_id, { ...way, after: 52 })), []);
      assert.equal((await collect(hub.refinements.follow(thread_id, { ...way, after: 50 }))).length, 2);
    }
    assert.equal((await collect(hub.refinements.events(thread_id))).length, 52);
  },

  async "a share link follows from its own cursor, on every transport"() {
    const { thread_id, proposal_id } = await aRun();
    await collect(hub.refinements.follow(thread_id));
    const link = await hub.call("POST", `/api/proposals/${proposal_id}/shares`, { body: { after_seq: 10 } });
    for (const way of ways) {
      const events = await collect(open({ token: link.secret }).refinements.follow(thread_id, way));
      assert.deepEqual([events[0].seq, events.length], [11, 42]);
    }
  },

  async "a question of the agent is answered while its run is followed"() {
    const { thread_id } = await aRun("[[replay:approval]]");
    const seqs = [];
    const decided = [];
    for await (const { seq, kind } of hub.refinements.follow(thread_id)) {
      if (kind.case === "inputAnswered") decided.push(...kind.value.decisions);
      if (kind.case !== "inputRequested") continue;
      const decision = seqs.length ? { decision: "reject", message: "No." } : { decision: "approve" };
      for (let time = 0; time < 2; time++) {
        await hub.refinements.reply(thread_id, { seq, decisions: [decision] }, { requestId: `reply-${seq}` });
      }
      seqs.push(seq);
    }
    assert.deepEqual(decided, ["approve", "reject"]);
    await assert.rejects(hub.refinements.reply(thread_id, { seq: seqs[0], decisions: [{ decision: "approve" }] }), {
      code: "input_closed",
    });
  },

  async "a missing event is asked for again, and a repeated one is dropped"() {
    const sockets = scripted([
      [1, 3],
      [2, 2, 3, 4, 4],
    ]);
    assert.deepEqual(await seqsOf(sockets), [1, 2, 3, 4]);
    assert.deepEqual(sockets.cursors, [0, 1]);
    await assert.rejects(
      seqsOf(
        scripted([
          [1, 3],
          [3, 4],
        ]),
      ),
      { name: "StreamClosedError", message: /event 2 is missing/ },
    );
  },

  async "a connection without a message for 20 s is given up"() {
    mock.timers.enable({ apis: ["setTimeout"] });
    const sockets = scripted([[1], [2, 3, 4]]);
    const reading = seqsOf(sockets);
    while (sockets.cursors.length < 1) await immediate();
    for (let turn = 0; turn < 10; turn++) await immediate();
    mock.timers.tick(19_999);
    for (let turn = 0; turn < 10; turn++) await immediate();
    assert.deepEqual(sockets.cursors, [0]);
    mock.timers.tick(1);
    for (let turn = 0; turn < 10; turn++) await immediate();
    mock.timers.tick(250);
    assert.deepEqual(await reading, [1, 2, 3, 4]);
    assert.deepEqual(sockets.cursors, [0, 1]);
  },

  async "a large event may take longer than a hub is silent"() {
    mock.timers.enable({ apis: ["setTimeout"] });
    const cursors = [];
    // Its connections bring the event after 30 s.
    class Slow {
      constructor(url) {
        cursors.push(new URL(url).searchParams.get("after"));
        const data = JSON.stringify({ batch: { events: [{ seq: 1, terminal: {} }] } });
        this.coming = setTimeout(() => this.onmessage({ data }), 30_000);
      }
      close() {
        clearTimeout(this.coming);
      }
    }
    let read;
    const reading = seqsOf(Slow).then((seqs) => (read = seqs));
    for (let turn = 0; turn < 600 && read === undefined; turn++) {
      for (let each = 0; each < 10; each++) await immediate();
      mock.timers.tick(250);
    }
    assert.deepEqual(read, [1]);
    assert.deepEqual(cursors, ["0", "0"]);
    await reading;
  },

  async "new tokens are not asked for without a pause, though the clock is ahead"() {
    mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: Date.now() });
    let asked = 0;
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    // Each is a new one that has ended by this clock.
    const token = () => `${part({})}.${part({ exp: Date.now() / 1000 - 600, number: asked++ })}.x`;
    const ticket = async () => ({ ticket: "t", websocket_url: "/ws?ticket=t" });
    class Open {
      constructor() {
        this.sent = setInterval(() => this.onmessage({ data: JSON.stringify({ heartbeat: {} }) }), 5_000);
        queueMicrotask(() => this.onmessage({ data: JSON.stringify({ heartbeat: {} }) }));
      }
      send() {}
      close() {}
    }
    const page = new Hub({ url: "http://hub", WebSocket: Open, token });
    const abort = new AbortController();
    const reading = collect(page.refinements.follow("thread", { ticket, format: "json", signal: abort.signal }));
    for (let second = 0; second < 60; second++) {
      for (let turn = 0; turn < 50; turn++) await immediate();
      mock.timers.tick(1_000);
    }
    abort.abort();
    await assert.rejects(reading, { name: "AbortError" });
    assert(asked >= 5 && asked <= 10, `${asked} times`);
  },

  async "a server whose certificate is not accepted is not called again"() {
    let calls = 0;
    const refuse = async () => {
      calls++;
      throw new TypeError("fetch failed", { cause: Object.assign(new Error(), { code: "CERT_HAS_EXPIRED" }) });
    };
    const wary = open({ url: "https://hub", fetch: refuse });
    await assert.rejects(wary.me(), { name: "UnreachableError", temporary: false });
    assert.equal(calls, 1);
    for (const way of ways) {
      await assert.rejects(collect(wary.refinements.follow("thread", way)), { name: "UnreachableError" });
    }
  },

  async "what waits for a slow caller is bounded, and read again"() {
    // A little more than 2 MiB each: with the 32nd it is too much.
    const all = Array.from({ length: 40 }, (_, index) => index + 1);
    const sockets = scripted([all, all.slice(32)], "x".repeat(1 << 20));
    assert.deepEqual(await seqsOf(sockets), all);
    assert.deepEqual(sockets.cursors, [0, 32]);
  },

  async "an aborted stream ends at once"() {
    const { thread_id } = await aRun("[[replay:short_run silent=9]]");
    for (const way of ways) {
      const abort = new AbortController();
      const reading = (async () => {
        for await (const event of hub.refinements.follow(thread_id, { ...way, signal: abort.signal })) {
          if (event.seq === 5) setTimeout(() => abort.abort(), 10);
        }
      })();
      await assert.rejects(reading, { name: "AbortError" });
      for await (const event of hub.refinements.follow(thread_id, way)) if (event.seq === 5) break;
    }
    await hub.refinements.cancel(thread_id);
  },

  async "gRPC is found by the HTTP address"() {
    const { grpc } = await hub.info();
    assert.equal(await hub.grpcUrl(), `http://127.0.0.1:${grpc.port}`);
    const said = (grpc, url = "https://hub.example.com") =>
      open({ url, fetch: async () => Response.json({ grpc }) }).grpcUrl({ trustedHosts: ["::1", "h"] });
    assert.equal(await said({ host: null, port: 1, tls: true }), "https://hub.example.com:1");
    assert.equal(await said({ host: "::1", port: 1, tls: true }), "https://[::1]:1");
    assert.equal(await said({ host: "h", port: 1, tls: false }, "http://hub"), "http://h:1");
    const another = { name: "FaultError", message: /another host/ };
    await assert.rejects(said({ host: "elsewhere.example.com", port: 1, tls: true }), another);
    const unreadable = { name: "FaultError", message: /cannot be read/ };
    await assert.rejects(said({ host: null, port: "1@elsewhere.example.com", tls: true }), unreadable);
    await assert.rejects(said({ host: null, port: 1, tls: false }), { name: "FaultError", message: /no TLS/ });
    await assert.rejects(said(null), { name: "FaultError", message: /does not say/ });
  },

  async "a rejected token is replaced"() {
    const asked = [];
    const patient = open({ token: (rejected) => (asked.push(rejected), rejected ? IDEO_TOKEN : EXPIRED_TOKEN) });
    await patient.me();
    assert.deepEqual(asked, [undefined, EXPIRED_TOKEN]);
  },

  async "a stream stays open with a new token"() {
    // The short token ends in a little more than a minute.
    const { thread_id } = await aRun("[[replay:short_run silent=9]]");
    let sent;
    const renewed = new Promise((resolve) => (sent = resolve));
    class Observed extends WebSocket {
      send(data) {
        super.send(data);
        sent(JSON.parse(data));
      }
    }
    const patient = open({ token: (ending) => (ending ? IDEO_TOKEN : SHORT_TOKEN), WebSocket: Observed });
    const reading = collect(patient.refinements.follow(thread_id));
    assert.deepEqual(await renewed, { type: "auth", token: IDEO_TOKEN });
    await hub.refinements.cancel(thread_id);
    assert.equal((await reading).at(-1).kind.case, "terminal");
  },

  async "a start whose answer is lost starts one run"() {
    let lost = 0;
    const unlucky = open({
      fetch: async (...request) => {
        const answer = await fetch(...request);
        if (request[1].method !== "POST" || lost++ >= 2) return answer;
        throw new TypeError("lost");
      },
    });
    const workflow = await hub.workflows.create({ name: "demo" });
    await unlucky.refinements.start(workflow.id, { user_prompt: "x" });
    assert.equal(lost, 3);
    assert.equal((await collect(hub.proposals.list({ workflow_id: workflow.id }))).length, 1);
  },

  async "lists are read page by page"() {
    const made = [];
    for (let number = 0; number < 5; number++) made.unshift((await hub.workflows.create({ name: `w${number}` })).id);
    const listed = (await collect(hub.workflows.list({ limit: 2 }))).map(({ id }) => id);
    assert.deepEqual(listed.slice(0, 5), made);
  },

  async "a proposal is decided about"() {
    const { workflow, thread_id, proposal_id } = await aRun();
    await collect(hub.refinements.follow(thread_id));
    let proposal = await hub.proposals.get(proposal_id);
    const [file, other] = await collect(hub.proposals.diff(proposal_id, { limit: 1 }));
    assert.match(await hub.proposals.patch(proposal_id), /^diff --git/);
    const page = await hub.proposals.diffPage(proposal_id, { limit: 1 });
    assert.deepEqual([page.items, page.etag, page.statistics.added_files], [[file], proposal.etag, 2]);
    const rest = await hub.proposals.diffPage(proposal_id, { cursor: page.next_cursor });
    assert.deepEqual([rest.items, rest.next_cursor], [[other], null]);
    proposal = await hub.proposals.decide(proposal, [{ path: file.path, decision: "rejected" }]);
    const { changes } = await hub.proposals.preview(proposal);
    assert.deepEqual(
      changes.map(({ path }) => path),
      [other.path],
    );
    await assert.rejects(hub.proposals.accept({ ...proposal, etag: "0-0" }), { code: "etag_mismatch" });
    const next = await hub.proposals.revise(proposal, { user_prompt: "shorter" });
    const accepted = await hub.proposals.accept(proposal);
    assert.equal(accepted.draft.version, 2);
    await collect(hub.refinements.follow(next.thread_id));
    assert.equal((await hub.proposals.reject(await hub.proposals.get(next.proposal_id))).resolution, "rejected");

    const draft = await hub.drafts.get(workflow.current_draft_id);
    assert.equal(sha256(await hub.drafts.content(draft.id, other.sha256)), other.sha256);
    const third = await hub.drafts.update(draft, { files: { "/notes.md": "x\n" } });
    const fourth = await hub.drafts.restore(third, 1);
    assert.deepEqual(
      (await collect(hub.drafts.versions(draft.id))).map(({ version }) => version),
      [4, 3, 2, 1],
    );
    assert.equal((await collect(hub.drafts.diff(draft.id, { base_version: 1 }))).length, 0);
    const versions = await hub.drafts.diffPage(draft.id, { version: 3, base_version: 1 });
    assert.deepEqual([versions.version, versions.base_version, versions.items.length], [3, 1, 2]);
    assert.equal(fourth.version, 4);
  },

  async "the files of a run are read as they were, with the events that wrote their lines"() {
    const { thread_id } = await aRun("[[replay:two_hands]]");
    const changes = [];
    for await (const { seq, kind } of hub.refinements.follow(thread_id)) {
      if (kind.case === "stateUpdate" && kind.value.files.length > 0) changes.push(seq);
    }
    const [first, second] = changes;
    const [before] = await collect(hub.refinements.files(thread_id, { seq: first }));
    assert.equal((await collect(hub.refinements.files(thread_id, { limit: 1 }))).length, 2);
    const text = await hub.refinements.content(thread_id, before.sha256);
    assert.deepEqual([sha256(text), text.length], [before.sha256, 2 * 18_000]);
    const blame = await hub.refinements.blame(thread_id, { path: "/lines.md" });
    // More ranges than one answer has.
    assert.deepEqual([blame.ranges.length, blame.next_line, blame.line_count], [18_000, null, 18_000]);
    assert.deepEqual(
      blame.ranges.map(({ first_line, seq }) => [first_line, seq]),
      Array.from({ length: 18_000 }, (_, index) => [index + 1, index % 2 === 0 ? first : second]),
    );
  },

  async "large answers are read with the limits that clients have by default"() {
    for (const way of ways) {
      const events = await collect(hub.refinements.follow(THREAD, way));
      const state = events.find(({ kind }) => kind.case === "stateUpdate").kind.value;
      assert.deepEqual(
        state.files.map(({ text, content }) => content.value.length),
        [6_000_000],
      );
    }
    const { proposal_id } = await hub.refinements.get(THREAD);
    const [file] = Object.values((await hub.proposals.get(proposal_id)).generated_files);
    assert.equal((await hub.proposals.content(proposal_id, file.sha256)).length, 6_000_000);
    const definition = { text: "x".repeat(250_000) };
    for (let number = 0; number < 20; number++)
      await hub.workflows.create({ name: "large", agent_definition: definition });
    assert.equal((await collect(hub.workflows.list())).length, 21);
    const workflow = await hub.workflows.create({ name: "prompts" });
    for (let number = 0; number < 25; number++) {
      await hub.refinements.start(workflow.id, { user_prompt: "€".repeat(65_000) });
    }
    const proposals = await collect(hub.proposals.list({ workflow_id: workflow.id }));
    assert.deepEqual([proposals.length, proposals[0].user_prompt.length], [25, 65_000]);
  },
};

await cases[process.argv[2]]();
