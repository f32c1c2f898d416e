// @vitest-environment happy-dom
import { cleanup, render, screen } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createApi } from "../src/api/api.ts";
import { AuthForm } from "../src/features/session/AuthForm.tsx";
import { stage } from "./arrange.ts";
import { Browser } from "./fake-server.ts";

afterEach(cleanup);

function form(mode: "login" | "register") {
  const { server } = stage();
  server.addUser("ada", "Ada");
  const browser = new Browser();
  const onSignedIn = vi.fn();
  render(
    <AuthForm mode={mode} api={createApi(server.fetch(browser))} notice={null} onSignedIn={onSignedIn} />,
  );
  return { server, browser, onSignedIn, user: userEvent.setup() };
}

describe("signing in", () => {
  it("logs in with name and password", async () => {
    const { user, onSignedIn } = form("login");
    await user.type(screen.getByLabelText("Username"), "ada");
    await user.type(screen.getByLabelText("Password"), "ada-password{Enter}");
    expect(onSignedIn).toHaveBeenCalledWith(expect.objectContaining({ username: "ada" }));
  });

  it("says that name or password are wrong, and not which", async () => {
    const { user, onSignedIn } = form("login");
    await user.type(screen.getByLabelText("Username"), "ada");
    await user.type(screen.getByLabelText("Password"), "wrong{Enter}");
    expect(await screen.findByRole("alert")).toHaveProperty(
      "textContent",
      "The name or the password is wrong.",
    );
    expect(onSignedIn).not.toHaveBeenCalled();
  });

  it("registers, and puts the server's complaint beside the field it is about", async () => {
    const { user, onSignedIn, browser } = form("register");
    await user.type(screen.getByLabelText("Your name"), "Another Ada");
    await user.type(screen.getByLabelText("Username"), "ada");
    await user.type(screen.getByLabelText("Password"), "a long enough password{Enter}");
    expect(screen.getByLabelText("Username").getAttribute("aria-invalid")).toBe("true");
    expect(screen.getByText("taken")).toBeTruthy();
    await user.type(screen.getByLabelText("Username"), "2{Enter}");
    expect(onSignedIn).toHaveBeenCalledOnce();
    expect(browser.user?.username).toBe("ada2");
  });

  it("says that the server is out of reach and keeps what was typed", async () => {
    const { user, server } = form("login");
    server.down = true;
    await user.type(screen.getByLabelText("Username"), "ada");
    await user.type(screen.getByLabelText("Password"), "ada-password{Enter}");
    expect((await screen.findByText("The server could not be reached.")).getAttribute("role")).toBe("alert");
    expect(screen.getByLabelText<HTMLInputElement>("Password").value).toBe("ada-password");
  });
});
