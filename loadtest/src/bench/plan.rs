//! What a run does, from what was asked for.

use std::time::Duration;

use super::{Options, Scenario};

/// Sizes of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    only: Vec<Scenario>,
    /// Measured time of each scenario.
    pub(crate) seconds: Duration,
    /// Time before it: caches fill, files grow, connections are made.
    pub(crate) warm_up: Duration,
    pub(crate) pairs: Vec<usize>,
    pub(crate) members: usize,
    pub(crate) sockets: usize,
    pub(crate) seed: u64,
}

impl Plan {
    pub(crate) fn of(options: &Options) -> Self {
        let size = |asked: Option<u64>, long: u64, short: u64| {
            asked.unwrap_or(if options.short { short } else { long })
        };
        let pairs = if options.pairs.is_empty() {
            if options.short {
                vec![1, 10]
            } else {
                vec![1, 10, 200]
            }
        } else {
            options.pairs.clone()
        };
        Self {
            only: options.only.clone(),
            seconds: Duration::from_secs(size(options.seconds, 10, 2)),
            warm_up: Duration::from_millis(if options.short { 500 } else { 2_000 }),
            pairs: pairs.into_iter().map(usize_of).collect(),
            members: usize_of(size(options.members, 1_000, 200)),
            sockets: usize_of(size(options.sockets, 5_000, 500)),
            seed: options.seed,
        }
    }

    /// Whether this was asked for.
    pub(crate) fn has(&self, scenario: Scenario) -> bool {
        self.only.is_empty() || self.only.contains(&scenario)
    }

    /// Whether the floor of this scenario is wanted: with the scenario, or because floors were asked for.
    pub(crate) fn floor_has(&self, scenario: Scenario) -> bool {
        self.has(scenario) || self.only.contains(&Scenario::SocketFloor)
    }

    /// Sockets of this process at one time at most.
    pub(crate) fn open_sockets_max(&self) -> u64 {
        let couples = self.pairs.iter().max().copied().unwrap_or_default() * 2;
        let sockets = couples.max(self.members).max(self.sockets);
        u64::try_from(sockets).unwrap_or(u64::MAX)
    }
}

/// The bounds of the options are far below any platform's.
fn usize_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;

    fn plan(arguments: &[&str]) -> Plan {
        let command =
            <Options as clap::Args>::augment_args(clap::Command::new("bench").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).unwrap();
        Plan::of(&Options::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn nothing_asked_for_is_everything() {
        let all = plan(&[]);
        assert!(
            all.has(Scenario::Idle)
                && all.has(Scenario::AppendFloor)
                && all.floor_has(Scenario::Dm)
        );
        assert_eq!(
            (all.pairs.as_slice(), all.members, all.sockets),
            ([1, 10, 200].as_slice(), 1_000, 5_000)
        );
    }

    #[test]
    fn a_scenario_brings_its_floor_and_floors_bring_no_scenario() {
        let dm = plan(&[
            "--only",
            "dm",
            "--pairs",
            "3,4",
            "--short",
            "--seconds",
            "9",
        ]);
        assert!(
            dm.has(Scenario::Dm) && dm.floor_has(Scenario::Dm) && !dm.floor_has(Scenario::Room)
        );
        assert_eq!(
            (dm.pairs.as_slice(), dm.seconds),
            ([3, 4].as_slice(), Duration::from_secs(9))
        );
        let floors = plan(&["--only", "socket-floor"]);
        assert!(floors.floor_has(Scenario::Room) && !floors.has(Scenario::Room));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        crate::Cli::command().debug_assert();
    }
}
