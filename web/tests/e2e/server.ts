/** The real server as a child process: a free port, a directory of its own, ended by its process id. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const BINARY = process.env.HUBBUB_TEST_BIN ?? resolve(import.meta.dirname, "../../../target/debug/hubbub");
/** A first start makes its database; a machine under test may be busy. */
const START_MS = 60_000;

function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const probe = createServer();
    probe.once("error", failed);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() =>
        typeof address === "object" && address !== null ? found(address.port) : failed(new Error("no port")),
      );
    });
  });
}

export class RealServer {
  private child: ChildProcess | null = null;
  private output = "";

  private constructor(
    readonly origin: string,
    private readonly listen: string,
    private readonly dataDir: string,
  ) {}

  static async create(): Promise<RealServer> {
    const listen = `127.0.0.1:${await freePort()}`;
    const server = new RealServer(`http://${listen}`, listen, mkdtempSync(join(tmpdir(), "hubbub-e2e-")));
    await server.start();
    return server;
  }

  /** Starts it and waits for its health, which is the promise it makes to the outside. */
  async start(): Promise<void> {
    const child = spawn(BINARY, ["serve", "--listen", this.listen, "--data-dir", this.dataDir], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child = child;
    const note = (chunk: Buffer) => {
      this.output = (this.output + chunk.toString()).slice(-8_000);
    };
    child.stdout.on("data", note);
    child.stderr.on("data", note);
    const ended = new Promise<never>((_, failed) => {
      child.once("error", failed);
      child.once("exit", (code) => failed(new Error(`the server ended with ${code}: ${this.output}`)));
    });
    ended.catch(() => undefined);
    await Promise.race([this.healthy(), ended]);
  }

  private async healthy(): Promise<void> {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline) {
      const ready = await fetch(`${this.origin}/api/v1/healthz/ready`).catch(() => null);
      if (ready?.ok === true) return;
      await new Promise((resume) => setTimeout(resume, 50));
    }
    throw new Error(`the server did not become ready: ${this.output}`);
  }

  /** `kill -9`: no farewell, no flush. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null) return;
    const gone = new Promise((resume) => child.once("exit", resume));
    child.kill("SIGKILL");
    await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}
