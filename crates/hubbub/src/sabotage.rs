//! Builds with one guarantee taken out (`cargo xtask sabotage`) do not serve people.

use anyhow::bail;

/// Says that whoever starts such a build knows what it is.
const ALLOWED: &str = "HUBBUB_ALLOW_SABOTAGE";

macro_rules! sabotages {
    ($($name:literal),+ $(,)?) => {
        /// Every one, and whether it is in this build.
        const SABOTAGES: &[(&str, bool)] = &[$(($name, cfg!(feature = $name))),+];
    };
}

sabotages! {
    "sabotage-no-fence",
    "sabotage-ack-before-commit",
    "sabotage-publish-before-commit",
    "sabotage-no-dedupe",
    "sabotage-resume-off-by-one",
    "sabotage-resume-twice",
    "sabotage-no-gap-check",
    "sabotage-no-last-message-check",
    "sabotage-swapped-publishes",
    "sabotage-unread-counts-redelivery",
    "sabotage-kick-ignored-elsewhere",
    "sabotage-epoch-not-bumped",
    "sabotage-projector-skips-on-error",
    "sabotage-retry-same-epoch",
}

/// Refuses to go on in a build without one of its guarantees, unless the environment says that this is wanted.
pub(crate) fn refuse() -> anyhow::Result<()> {
    let built = SABOTAGES.iter().find(|(_, is_in)| *is_in);
    if let Some((name, _)) = built
        && !is_allowed()
    {
        bail!(
            "this build loses or doubles messages on purpose ({name}); {ALLOWED}=1 starts it all the same"
        );
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "not a setting: nobody shall find it in a configuration"
)]
fn is_allowed() -> bool {
    std::env::var(ALLOWED).is_ok_and(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_guarantee_does_not_start() {
        let is_sabotaged = SABOTAGES.iter().any(|(_, is_in)| *is_in);
        assert_eq!(refuse().is_err(), is_sabotaged && !is_allowed());
    }
}
