//! `gateway bootstrap`: from an empty server to a running service. It shows the plan, asks, carries it out, and ends with
//! the doctor.

mod answers;
mod first_certificate;
mod node;
mod registry;
mod stop;
mod undo;

use std::{
    io::{self, BufRead, IsTerminal, Read},
    net::SocketAddr,
    path::PathBuf,
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};

use self::stop::Stop;
use super::{
    Failure, Settings,
    doctor::{self, Doctor},
    import, out, reach,
};
use crate::{
    backend::node::Spec,
    bootstrap::{self, Answers, BootstrapError, Facts, OpenPort, Plan, Progress},
    config::{self, Loaded},
};

/// Ports that are free where something else holds 443 and 80.
const BESIDE: [&str; 2] = ["[::]:8443", "[::]:8080"];

/// Longest answer: a word.
const ANSWER_BYTES_MAX: u64 = 64;
/// Longest wait for one that does not come from a terminal.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Set this server up: service, users, sandbox, firewall. Shows its plan first; twice changes nothing the second time
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
The firewall goes back by itself unless it is confirmed over a second SSH session: nobody locks themselves out.

Examples:
  gateway bootstrap --app /srv/app --domain api.example.com --dry-run
  gateway bootstrap --app /srv/app --domain api.example.com
  gateway bootstrap --app /srv/app --domain api.example.com --node 22
  gateway bootstrap --beside --upstream http://127.0.0.1:3000 --domain api.example.com
  gateway bootstrap confirm
  gateway bootstrap --undo --dry-run
  gateway bootstrap --undo")]
pub(crate) struct Bootstrap {
    #[command(subcommand)]
    order: Option<Order>,
    /// The Node application's directory
    #[arg(long, value_name = "DIR")]
    app: Option<PathBuf>,
    /// A host of the API; may be repeated
    #[arg(long, value_name = "HOST", value_parser = answers::host)]
    domain: Vec<String>,
    /// Stand beside what serves already: ports 8080 and 8443 instead of 80 and 443, until `gateway cutover`
    #[arg(long, conflicts_with = "listen")]
    beside: bool,
    /// What serves already, such as http://127.0.0.1:3000: it goes on serving, behind the gateway
    #[arg(long, value_name = "URL", conflicts_with = "app", value_parser = answers::upstream)]
    upstream: Option<String>,
    /// How the application is started, if its package.json does not say
    #[arg(long, value_name = "COMMAND", requires = "app")]
    command: Option<String>,
    /// A file with the application's environment
    #[arg(long, value_name = "FILE", requires = "app")]
    env_file: Option<PathBuf>,
    /// A directory that the application writes to; may be repeated
    #[arg(long, value_name = "DIR", requires = "app")]
    data: Vec<PathBuf>,
    /// The version of Node that it is started with, if .nvmrc, .node-version and package.json do not say it
    #[arg(long, value_name = "VERSION", requires = "app")]
    node: Option<Spec>,
    /// Where Node comes from if none that is here will do, such as file:///srv/node-dist, instead of the Node project's own
    #[arg(long, value_name = "URL", requires = "app", value_parser = super::node::mirror)]
    node_mirror: Option<String>,
    /// Where certificates come from
    #[arg(long, value_name = "MODE", value_parser = ["acme", "local"], default_value = "acme")]
    tls: String,
    /// A mail address for the certificate authority; may be repeated
    #[arg(long, value_name = "MAIL", value_parser = answers::contact)]
    contact: Vec<String>,
    /// Where the edge listens, instead of on ports 80 and 443; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// A port of SSH besides those that are found; may be repeated
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ssh_port: Vec<u16>,
    /// A port or range that the firewall leaves open besides, such as 8080, 51820/udp or 8000-8010; may be repeated
    #[arg(long, value_name = "PORT")]
    open: Vec<OpenPort>,
    /// Build no firewall
    #[arg(long)]
    no_firewall: bool,
    /// How long the firewall lives without being confirmed
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = within)]
    confirm_within: Duration,
    /// Let security updates install themselves
    #[arg(long)]
    updates: bool,
    /// Show the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing: for cloud-init and scripts
    #[arg(long)]
    yes: bool,
    /// Take back what bootstrap made, and nothing else
    #[arg(long, conflicts_with_all = ["app", "upstream"])]
    undo: bool,
    #[command(flatten)]
    form: out::Form,
}

#[derive(Debug, clap::Subcommand)]
enum Order {
    Confirm(Confirm),
}

/// Keep the firewall: give this order over a second SSH session, which proves that you can still come in
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway bootstrap confirm")]
struct Confirm {}

pub(super) fn within(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time.as_secs() {
        5..=3600 => Ok(time),
        _ => Err("between 5 s, in which nobody opens a session, and an hour".to_owned()),
    }
}

impl From<BootstrapError> for Failure {
    fn from(error: BootstrapError) -> Self {
        let failure = Self::failed(error.to_string());
        match error.remedy() {
            Some(remedy) => failure.hint(remedy),
            None => failure,
        }
    }
}

impl Bootstrap {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        if let Some(Order::Confirm(_)) = &self.order {
            bootstrap::confirm()?;
            out::line("the firewall is confirmed: it stays, and comes back at every boot");
            return Ok(());
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(BootstrapError::NotRoot.into());
        }
        // Before anything is looked at: what another run changes meanwhile would not be in the plan.
        let _alone = if self.dry_run { None } else { Some(bootstrap::alone()?) };
        if self.undo {
            return self.take_back(settings);
        }
        let answers = self.answers(settings)?;
        answers::fit(&answers, settings)?;
        let mut facts = Facts::gather(&answers);
        facts.node = node::look(&facts, &answers, settings)?;
        facts.certbot_unfit = import::none_fits(bootstrap::CERTBOT.as_ref(), &facts.certbot);
        answers::starts(&facts, &answers, settings)?;
        let plan = bootstrap::plan(&facts, &answers);
        let ends_here = self.dry_run || plan.steps.is_empty() || !plan.problems.is_empty();
        if !self.form.json {
            self.show(&facts, &plan);
        } else if ends_here {
            out::json(&json!({ "facts": facts, "plan": plan }))?;
        }
        if !plan.problems.is_empty() {
            return Err(Failure::told());
        }
        if ends_here {
            return answers::said_in_full(&answers, settings);
        }
        self.ask("Go ahead?")?;
        let quiet = self.form.json;
        let stop = Stop::heard()?;
        let carried_out = bootstrap::apply(&plan, &|| stop.asked().is_some(), |progress| match progress {
            _ if quiet => {}
            Progress::Begun(index, step) => {
                out::remark(format!("[{}/{}] {}: {}", index + 1, plan.steps.len(), step.subject, step.will));
            }
            Progress::Words(line) => out::remark(format!("      {line}")),
        });
        // One document, with all that there is to say: for scripts.
        let told = json!({ "facts": facts, "plan": plan });
        let failure = match carried_out {
            Ok(done) if done == plan.steps.len() => None,
            Ok(done) => stop.asked().map(|asked| (done, stop::stopped(asked, &subjects(&plan), done, GO_ON))),
            Err((done, error)) => Some((done, failed(&plan, done, &error))),
        };
        if let Some((done, failure)) = failure {
            if quiet {
                out::json(&with(told, "done", json!(done)))?;
            }
            return Err(failure);
        }
        let told = with(told, "done", json!(plan.steps.len()));
        self.tell_armed();
        if quiet && stop.asked().is_some() {
            out::json(&told)?;
        }
        stop.over();
        self.ended(&answers, settings, told)?;
        answers::said_in_full(&answers, settings)
    }

    fn show(&self, facts: &Facts, plan: &Plan) {
        let system = &facts.distribution;
        let ports: Vec<String> = facts.ssh.ports.iter().map(u16::to_string).collect();
        out::line(format!(
            "{}, run by {}; SSH on {}; you are here {}",
            if system.name.is_empty() { "an unknown system" } else { &system.name },
            facts.init,
            if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") },
            facts.ssh.session.shown()
        ));
        for problem in &plan.problems {
            out::line(format!("\nerror: {}\nhint: {}", problem.what, problem.remedy));
        }
        if plan.problems.is_empty() {
            if plan.steps.is_empty() {
                out::line("everything is as it should be: nothing to do");
            }
            for (index, step) in plan.steps.iter().enumerate() {
                let differs: String =
                    step.differs.iter().map(|line| format!("\n             {line}")).collect();
                out::line(format!(
                    "\n{:>2}. {}\n    is       {}{differs}\n    will be  {}\n    because  {}",
                    index + 1,
                    step.subject,
                    step.is,
                    step.will,
                    step.why
                ));
            }
        } else {
            out::line("\nnothing has been touched");
        }
        for note in &plan.notes {
            out::line(format!("\nnote: {}\nhint: {}", note.what, note.remedy));
        }
    }

    /// Ends the command unless the answer is yes.
    fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        out::remark(format!("\n{question} [y/N]"));
        let answer = answer()?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::failed("nothing has been touched")),
        }
    }

    /// What must not be missed, whatever comes after it.
    fn tell_armed(&self) {
        if let Some(armed) = bootstrap::live().armed {
            let text = format!(
                "\nThe firewall is up until {:.0} and then goes back, unless you keep it. From your own machine, open a\n\
                 SECOND SSH session and run there: sudo gateway bootstrap confirm\n",
                armed.until
            );
            if self.form.json { out::remark(text) } else { out::line(text) }
        }
    }

    fn ended(&self, answers: &Answers, settings: &Settings, told: Value) -> Result<(), Failure> {
        first_certificate::awaited(answers, settings);
        // What it finds is told, and no reason to call the set-up failed: DNS may come later.
        if self.form.json {
            let doctor = doctor::report(&doctor::findings(settings)?);
            return out::json(&with(told, "doctor", doctor));
        }
        let _findings = Doctor::default().run(settings);
        Ok(())
    }
}

/// A document with one thing more in it.
fn with(mut document: Value, key: &str, value: Value) -> Value {
    document[key] = value;
    document
}

/// A line of standard input, be it a terminal or not: over `ssh HOST sudo gateway bootstrap` it is none, and what its user types
/// arrives all the same. One that has ended already, as under cron, is nobody.
fn answer() -> Result<String, Failure> {
    let nobody = |what: &str| {
        Err(Failure::failed(format!("{what}: nothing has been touched"))
            .hint("`--yes` goes ahead without asking; `ssh -t HOST sudo …` brings a terminal along"))
    };
    let read = || {
        let mut answer = String::new();
        let read = io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer);
        read.is_ok_and(|bytes| bytes > 0).then_some(answer)
    };
    if io::stdin().is_terminal() {
        return Ok(read().unwrap_or_default());
    }
    let (said, heard) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // Who waited for it may have given up.
        let _gone = said.send(read());
    });
    match heard.recv_timeout(ANSWER_TIMEOUT) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => nobody("there is nobody to ask"),
        Err(mpsc::RecvTimeoutError::Timeout) => nobody("nobody has answered"),
    }
}

/// After a run that has not come to its end.
const GO_ON: &str =
    "run the same order again, which goes on here, or take everything back with `gateway bootstrap --undo`";

fn subjects(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.subject.as_str()).collect()
}

fn failed(plan: &Plan, done: usize, error: &BootstrapError) -> Failure {
    let names = subjects(plan);
    let step = names.get(done).copied().unwrap_or_default();
    let done = if done == 0 { "nothing".to_owned() } else { names[..done].join(", ") };
    let remedy = error.remedy().map(|remedy| format!("{remedy}; then ")).unwrap_or_default();
    Failure::failed(format!("step `{step}` failed: {error}\ndone before: {done}"))
        .hint(format!("{remedy}{GO_ON}"))
}

/// Where the configuration that is there makes the edge listen; the defaults where there is none.
pub(super) fn configured(settings: &Settings) -> Result<Vec<SocketAddr>, Failure> {
    let config = there(settings)?.map(|loaded| loaded.config).unwrap_or_default();
    Ok(config.edge.https.iter().chain(&config.edge.http).copied().collect())
}

/// The configuration that is there already.
fn there(settings: &Settings) -> Result<Option<Loaded>, Failure> {
    let there = settings.config.is_some() || std::path::Path::new(bootstrap::CONFIG).exists();
    let load = || config::load_to_set_up(&settings.flags()).map_err(|problems| reach::unusable(&problems));
    there.then(load).transpose()
}
