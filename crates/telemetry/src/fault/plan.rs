//! What happens where: the plan as text, and the passings counted so far. Exists only in builds with the feature.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the plan stands.
const VARIABLE: &str = "HUBBUB_FAULT_POINTS";

/// The plan of this process. `None` until it is armed or a point is passed, which reads the environment.
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

/// A plan that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "cannot read the fault {0:?}, expected name=kill|panic|delay:<ms>, with @<n> behind it or not"
)]
pub struct PlanError(String);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Kill,
    Panic,
    Delay(Duration),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    name: String,
    action: Action,
    /// At which passing, from 1; `None` at every one.
    at: Option<u64>,
}

#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    passed: BTreeMap<String, u64>,
}

/// Replaces the plan and begins to count anew.
///
/// # Errors
/// [`PlanError`] names the part that cannot be read; the plan stays what it was.
pub fn arm(text: &str) -> Result<(), PlanError> {
    let faults = parse(text)?;
    *lock() = Some(Plan {
        faults,
        passed: BTreeMap::new(),
    });
    Ok(())
}

pub(super) fn announce() -> Result<(), PlanError> {
    let text = environment();
    arm(&text)?;
    tracing::warn!(
        plan = text,
        "this build has fault points: it is for tests and must not serve people"
    );
    Ok(())
}

pub(super) fn pass(name: &'static str) {
    let Some(action) = count(name) else { return };
    tracing::warn!(point = name, ?action, "fault point");
    match action {
        Action::Kill => std::process::abort(),
        #[expect(clippy::panic, reason = "the fault that was asked for")]
        Action::Panic => panic!("fault point {name}"),
        #[expect(
            clippy::disallowed_methods,
            reason = "a stalled thread is the fault that was asked for"
        )]
        Action::Delay(wait) => std::thread::sleep(wait),
    }
}

pub(super) fn hits(name: &str) -> u64 {
    lock()
        .as_ref()
        .and_then(|plan| plan.passed.get(name).copied())
        .unwrap_or(0)
}

/// Counts a passing; the lock is free again before anything happens.
fn count(name: &str) -> Option<Action> {
    let mut armed = lock();
    let plan = armed.get_or_insert_with(|| Plan {
        faults: parse(&environment()).unwrap_or_default(),
        passed: BTreeMap::new(),
    });
    let passed = plan.passed.entry(name.to_owned()).or_insert(0);
    *passed = passed.saturating_add(1);
    let now = *passed;
    plan.faults
        .iter()
        .find(|fault| fault.name == name && fault.at.is_none_or(|at| at == now))
        .map(|fault| fault.action)
}

fn lock() -> MutexGuard<'static, Option<Plan>> {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's plan is no setting; it exists only in builds for tests"
)]
fn environment() -> String {
    std::env::var(VARIABLE).unwrap_or_default()
}

fn parse(text: &str) -> Result<Vec<Fault>, PlanError> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| fault(part).ok_or_else(|| PlanError(part.to_owned())))
        .collect()
}

fn fault(part: &str) -> Option<Fault> {
    let (name, rest) = part.split_once('=')?;
    let (action, at) = match rest.split_once('@') {
        Some((action, at)) => (action, Some(at.parse().ok().filter(|at| *at > 0)?)),
        None => (rest, None),
    };
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        None if action == "panic" => Action::Panic,
        Some(("delay", millis)) => Action::Delay(Duration::from_millis(millis.parse().ok()?)),
        _ => return None,
    };
    (!name.is_empty()).then(|| Fault {
        name: name.to_owned(),
        action,
        at,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{PANIC_BODY, panic_on_body};
    use super::{Action, Fault, PlanError, arm, hits, parse, pass};

    #[test]
    fn a_plan_is_read_as_the_module_documents_it() {
        let fault = |name: &str, action, at| Fault {
            name: name.to_owned(),
            action,
            at,
        };
        assert_eq!(
            parse("append.before=kill@3, project.after=delay:200,publish.before=panic@1,").unwrap(),
            [
                fault("append.before", Action::Kill, Some(3)),
                fault(
                    "project.after",
                    Action::Delay(Duration::from_millis(200)),
                    None
                ),
                fault("publish.before", Action::Panic, Some(1)),
            ]
        );
        assert_eq!(parse("").unwrap(), []);
        for wrong in [
            "append",
            "=kill",
            "a=die",
            "a=kill@0",
            "a=kill@x",
            "a=delay",
            "a=delay:x",
        ] {
            assert_eq!(parse(wrong), Err(PlanError(wrong.to_owned())));
        }
    }

    // One test for everything that touches the plan of the process.
    #[test]
    fn a_point_acts_at_its_number_and_counts_every_passing() {
        arm("telemetry.one=panic@2,telemetry.two=delay:0").unwrap();
        pass("telemetry.one");
        pass("telemetry.two");
        let second = std::panic::catch_unwind(|| pass("telemetry.one"));
        assert!(second.is_err());
        pass("telemetry.one");
        assert_eq!(hits("telemetry.one"), 3);
        assert_eq!(hits("telemetry.two"), 1);
        assert_eq!(hits("telemetry.three"), 0);
        assert!(arm("nonsense").is_err());
        assert_eq!(hits("telemetry.one"), 3, "the plan stays");
        arm("").unwrap();
        assert_eq!(hits("telemetry.one"), 0);
    }

    #[test]
    fn only_the_exact_body_panics() {
        panic_on_body("fault:panic ");
        assert!(std::panic::catch_unwind(|| panic_on_body(PANIC_BODY)).is_err());
    }
}
