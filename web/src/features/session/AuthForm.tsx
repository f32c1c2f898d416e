/** Log in or register. Owns its fields only; what to do with a signed-in user is the caller's. */
import { type FormEvent, useEffect, useState } from "react";
import type { Api } from "../../api/api.ts";
import type { ApiError } from "../../api/http.ts";
import { problemText, strings } from "../../lib/strings.ts";
import { Button, IconButton } from "../../ui/Button.tsx";
import { Field } from "../../ui/Field.tsx";
import { Link } from "../../ui/navigation.tsx";
import type { User } from "../../wire/types.ts";

export interface AuthFormProps {
  readonly mode: "login" | "register";
  readonly api: Pick<Api, "login" | "register" | "limits">;
  readonly notice: string | null;
  readonly onSignedIn: (user: User) => void;
}

const say = strings.session;

/** Field errors stand at their fields; what the server explains beyond its code is worth reading only where the person can act on it. */
function complaint({ code, detail, fields }: ApiError): string {
  if (Object.keys(fields).length > 0) return "";
  return code === "invalid" && detail !== "" ? detail : problemText(code);
}

export function AuthForm({ mode, api, notice, onSignedIn }: AuthFormProps) {
  const [username, setUsername] = useState("");
  const [displayName, setDisplayName] = useState("");
  const [password, setPassword] = useState("");
  const [shown, setShown] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ApiError | null>(null);
  const [least, setLeast] = useState<number | null>(null);
  const registering = mode === "register";

  useEffect(() => {
    if (!registering) return;
    void api.limits().then((answer) => {
      if (answer.ok) setLeast(answer.value.password_min);
    });
  }, [api, registering]);

  async function submit(event: FormEvent) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    const name = username.trim();
    const answer = registering
      ? await api.register({ username: name, display_name: displayName.trim() || name, password })
      : await api.login({ username: name, password });
    setBusy(false);
    if (answer.ok) onSignedIn(answer.value);
    else setProblem(answer.error);
  }

  const idle = registering ? say.register : say.logIn;
  const working = registering ? say.registering : say.loggingIn;
  const problems = problem?.fields ?? {};
  return (
    <main className="auth">
      <div className="auth-card">
        <p className="wordmark">
          <span className="wordmark-dot" aria-hidden="true" />
          {strings.product}
        </p>
        <h1>{registering ? say.create : say.welcome}</h1>
        <p className="auth-tagline">{say.tagline}</p>
        {notice === null ? null : (
          <p className="auth-notice" role="status">
            {notice}
          </p>
        )}
        <form onSubmit={(event) => void submit(event)} noValidate>
          {registering ? (
            <Field
              label={say.displayName}
              name="display_name"
              autoComplete="name"
              required
              value={displayName}
              problem={problems.display_name}
              onChange={(event) => setDisplayName(event.target.value)}
            />
          ) : null}
          <Field
            label={say.username}
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            required
            value={username}
            problem={problems.username}
            {...(registering ? { hint: say.usernameHint } : {})}
            onChange={(event) => setUsername(event.target.value)}
          />
          <Field
            label={say.password}
            name="password"
            type={shown ? "text" : "password"}
            autoComplete={registering ? "new-password" : "current-password"}
            required
            value={password}
            problem={problems.password}
            {...(registering ? { hint: say.passwordHint(least) } : {})}
            onChange={(event) => setPassword(event.target.value)}
            trailing={
              <IconButton
                icon={shown ? "eyeOff" : "eye"}
                label={shown ? say.hidePassword : say.showPassword}
                onClick={() => setShown(!shown)}
              />
            }
          />
          <p className="form-problem" role="alert">
            {problem === null ? "" : complaint(problem)}
          </p>
          <Button type="submit" tone="primary" disabled={busy || username.trim() === "" || password === ""}>
            {busy ? working : idle}
          </Button>
        </form>
        <Link href={registering ? "/login" : "/register"} className="auth-switch">
          {registering ? say.toLogin : say.toRegister}
        </Link>
      </div>
    </main>
  );
}
