//! Work beside the web: programs that run by the clock, on order, or always, each beside the workers of a backend, and
//! where it is asked for once per tenant. It decides when and for whom; how a program is started and ended is the
//! backend's. It knows no request, and no run of it is ever made up for.

mod always;
mod board;
mod clockwork;
mod config;
mod error;
mod jobs;
mod outcome;
mod records;
mod run;
mod schedule;

pub(crate) use self::{
    config::Config,
    jobs::{Jobs, JobsParts, Watching},
    outcome::{By, JobView, Outcome, RunView, UnderWay, Verdict},
};
