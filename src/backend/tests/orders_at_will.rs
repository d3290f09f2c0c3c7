//! Any sequence of orders and mishaps against a naive model, with real programs: how many workers serve, and which
//! build. The model knows two numbers and a flag; whatever happens in a slot's life, they must come true again.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;

/// Each starts a dozen processes.
const SEQUENCES: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    Restart,
    /// A build that is good.
    Reload(u8),
    /// One that ends before it is ready.
    Break,
    Scale(usize),
    Halt,
    /// One is killed.
    Crash(usize),
    /// One stands still, and so answers no health check.
    Freeze(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Restart),
        3 => any::<u8>().prop_map(Step::Reload),
        2 => Just(Step::Break),
        2 => (1_usize..4).prop_map(Step::Scale),
        1 => Just(Step::Halt),
        4 => any::<usize>().prop_map(Step::Crash),
        1 => any::<usize>().prop_map(Step::Freeze),
    ];
    proptest::collection::vec(step, 1..12)
}

/// All there is to know.
#[derive(Debug)]
struct Model {
    workers: usize,
    label: u8,
    halted: bool,
}

impl Model {
    fn build(&self, program: &str, label: u8) -> Config {
        let watched = Health {
            watch_interval: Duration::from_millis(50),
            // A machine under load is not a worker that stands still.
            timeout: Duration::from_secs(4),
            unhealthy_after: 1,
            ..health_path("/health")
        };
        Config {
            env: BTreeMap::from([("LABEL".to_owned(), label.to_string())]),
            workers: Workers::Number(u16::try_from(self.workers).unwrap()),
            stop_grace: Duration::from_secs(1),
            health: watched,
            ..config(program)
        }
    }

    async fn take(&mut self, bench: &Bench, step: &Step) {
        if std::mem::take(&mut self.halted) {
            bench.backend.resume().await.unwrap();
            self.holds(bench).await;
        }
        match step {
            Step::Restart => bench.backend.restart().await.unwrap(),
            Step::Reload(label) => {
                let build = self.build("well.mjs", *label);
                never_empty(bench, bench.adopt(build)).await.unwrap();
                self.label = *label;
            }
            Step::Break => {
                let build = self.build("exits.mjs", self.label);
                never_empty(bench, bench.adopt(build)).await.unwrap_err();
            }
            Step::Scale(workers) => {
                never_empty(bench, bench.backend.scale(*workers)).await.unwrap();
                self.workers = *workers;
            }
            Step::Halt => {
                bench.backend.halt().await.unwrap();
                self.halted = true;
            }
            Step::Crash(which) => {
                let pid = self.one(bench, *which);
                kill(pid);
                // Whether its end or its silence is noticed first: another takes its place.
                bench
                    .until("it is gone", |status| status.workers.iter().all(|one| one.pid != Some(pid)))
                    .await;
            }
            Step::Freeze(which) => {
                let pid = self.one(bench, *which);
                let frozen = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
                nix::sys::signal::kill(frozen, Signal::SIGSTOP).unwrap();
                until_dead(pid).await;
            }
        }
    }

    fn one(&self, bench: &Bench, which: usize) -> u32 {
        bench.backend.status().workers[which % self.workers].pid.expect("it runs")
    }

    /// The status, the roster and the workers themselves say what the model says.
    async fn holds(&self, bench: &Bench) {
        let wanted = if self.halted { "finished" } else { "ready" };
        bench
            .until(&format!("{self:?}"), |status| {
                status.workers.len() == self.workers && status.workers.iter().all(|one| one.state == wanted)
            })
            .await;
        let pids: BTreeSet<u32> = bench.backend.status().workers.iter().filter_map(|one| one.pid).collect();
        if self.halted {
            assert!(pids.is_empty() && bench.backend.roster().pick(&[]).is_none(), "{pids:?}");
            return;
        }
        assert_eq!(pids.len(), self.workers, "one process each");
        let mut answered = BTreeSet::new();
        // Idle workers are picked in turn: as many picks as workers see each once.
        for _ in 0..self.workers {
            let said = bench.json_at("/").await;
            assert_eq!(said["env"]["LABEL"], self.label.to_string(), "{self:?}");
            answered.insert(u32::try_from(said["pid"].as_u64().unwrap()).unwrap());
        }
        assert_eq!(answered, pids, "the roster is not who runs");
    }
}

/// Carry it out, and see that somebody serves all the while.
async fn never_empty<T>(bench: &Bench, order: impl Future<Output = T>) -> T {
    let roster = bench.backend.roster();
    let watching = async {
        loop {
            assert!(roster.pick(&[]).is_some(), "nobody serves");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = order => done,
        () = watching => unreachable!("it watches for ever"),
    }
}

async fn live(steps: Vec<Step>) {
    let mut model = Model { workers: 1, label: 0, halted: false };
    let bench = Bench::start(model.build("well.mjs", 0));
    bench.ready().await;
    for step in &steps {
        model.take(&bench, step).await;
        model.holds(&bench).await;
    }
    bench.finish().await;
}

#[test]
fn whatever_happens_the_workers_that_were_ordered_serve_the_build_that_was_ordered() {
    // What fails is not made shorter: each attempt would take seconds.
    let config = ProptestConfig {
        cases: SEQUENCES,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        runtime().block_on(live(steps));
        Ok(())
    });
    outcome.unwrap();
}
