//! A thousand pools and one backend, in virtual time.
//!
//! Each pool is a real one, with 20 connections and the default settings, on one
//! [`SimRuntime`](connpool_testkit::SimRuntime). Its `min_size` is 20 too, so that "has all connections"
//! does not depend on the load. Twenty callers repeat: get, a request of 100 to 300 ms, a pause of up to
//! 100 ms, which keeps four of five connections in use. A caller whose get fails tries again after 0.5 to
//! 1.5 s.
//!
//! The backend accepts 500 connects a second, one every 2 ms. The others wait in a backlog of 128, in the
//! order of their arrival; one that is given up leaves it. If the backlog is full, further connects are
//! refused, as by a kernel that resets them, or wait as well, as if the backlog had no end. Both are run.
//! A backend that is down refuses. When it goes down, all connections are lost, and requests under way
//! fail at once.
//!
//! A connect goes to one of five addresses, the next one each time: this shows how a pool copes with a dead address
//! without the help of a manager that tries several.
#![forbid(unsafe_code)]

mod backend;
mod client;
mod draw;
mod figures;
mod plot;
mod record;
mod report;
mod scenario;

pub use backend::{DeadAddress, Overflow};
pub use figures::{Figures, Miss};
pub use plot::svg;
pub use report::table;
pub use scenario::{Fleet, Run, Scenario};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_pools_recover_from_a_restart_within_the_targets() {
        let fleet = Fleet { pools: 10, size: 20, seed: 0 };
        let figures = fleet.run(Scenario::Restart, Overflow::Refuse).figures();
        assert_eq!(figures.misses(), []);
    }

    #[test]
    fn figures_follow_from_the_seed() {
        let figures = |seed| {
            let fleet = Fleet { pools: 2, size: 4, seed };
            table(&[fleet.run(Scenario::Restart, Overflow::Refuse).figures()])
        };
        assert_eq!(figures(0), figures(0));
        assert_ne!(figures(0), figures(1));
    }

    #[test]
    fn plot_has_a_panel_for_each_scenario() {
        let fleet = Fleet { pools: 2, size: 4, seed: 0 };
        let run = |scenario| fleet.run(scenario, Overflow::Wait);
        let runs = [Scenario::ColdStart, Scenario::Restart].map(run);
        let svg = svg(&runs).expect("drawing");
        for wanted in ["cold start", "restart of 1 s", "attempts a second"] {
            assert!(svg.contains(wanted), "{wanted} in {svg}");
        }
    }
}
