//! `gateway dashboard`: the page that shows everything, for a browser here or at the other end of an SSH connection.

use std::{
    io::{self, Read},
    net::SocketAddr,
    os::{fd::AsFd, unix::fs::FileTypeExt},
    path::PathBuf,
};

use serde::Serialize;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{Client, Failure, Settings, failure::Exit, identity, out, reach};
use crate::{admin, shutdown::Shutdown};

/// Where it listens, and what `-L` in the help leads there.
const LISTEN: &str = "127.0.0.1:7070";

/// Show everything on a page in a browser: workers, jobs, certificates, tenants, pools, logs
///
/// It runs as long as this command does, listens on this machine alone, and shows: it takes no orders. The address that
/// it prints has a key in it, which opens the page in one browser; the next key is printed when that has happened.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
From your own computer, and then open the address that it prints:
  ssh -t -L 7070:127.0.0.1:7070 HOST sudo gateway dashboard

Examples:
  gateway dashboard
  gateway dashboard --listen 127.0.0.1:0
  gateway dashboard --json | jq -r .url")]
pub(crate) struct Dashboard {
    /// The loopback address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
    listen: String,
    #[command(flatten)]
    form: out::Form,
}

/// Where the page is, for scripts: one line a key.
#[derive(Serialize)]
struct Told<'a> {
    url: &'a str,
    address: SocketAddr,
}

impl Dashboard {
    pub(crate) fn run(self, settings: &Settings) -> Result<(), Failure> {
        let address = loopback(&self.listen)?;
        let socket = reach::running_at(settings)?;
        // What a page is served from needs no rights beyond the gateway's own.
        identity::become_owner_of(&socket)?;
        reach::runtime()?.block_on(self.serve(address, socket))
    }

    async fn serve(self, address: SocketAddr, socket: PathBuf) -> Result<(), Failure> {
        // Whoever may not ask, and whom it cannot answer, hears so here and not from the page.
        let _status: admin::Status = Client::Running(socket.clone()).show("/status").await?;
        let listener = TcpListener::bind(address).await.map_err(|error| unusable(address, &error))?;
        let address = listener.local_addr().map_err(|error| unusable(address, &error))?;
        let mut end = End::heard()?;
        let life = Shutdown::new();
        let json = self.form.json;
        let dashboard = admin::Dashboard::new(socket, life.clone(), move |key| tell(address, key, json));
        let serving = dashboard.map_err(Failure::from)?.serve(listener);
        let ending = async {
            let ended = end.comes().await;
            life.begin();
            ended
        };
        tokio::join!(serving, ending).1
    }
}

/// Print the address with its key.
fn tell(address: SocketAddr, key: &str, json: bool) {
    let url = format!("http://{address}/?key={key}");
    if !json {
        out::remark(
            "The dashboard is at this address, for one browser; the next one gets its own. Ctrl-C ends it.",
        );
        out::line(url);
    } else if let Ok(text) = serde_json::to_string(&Told { url: &url, address }) {
        out::line(text);
    }
}

/// The address, if nobody but this machine reaches it.
fn loopback(text: &str) -> Result<SocketAddr, Failure> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = numeric.as_deref().unwrap_or(text).parse().map_err(|_| {
        Failure::usage(format!("`--listen {text}` is no address with a port"))
            .hint(format!("write it like `--listen {LISTEN}` or `--listen '[::1]:7070'`"))
    })?;
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "`--listen {text}` can be reached by strangers: the dashboard listens on loopback addresses alone"
        ))
        .hint(format!(
            "leave it at {LISTEN}, and from another computer: `ssh -t -L 7070:{LISTEN} HOST sudo gateway dashboard`"
        )));
    }
    Ok(address)
}

fn unusable(address: SocketAddr, error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot listen on {address}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => failure.hint(format!(
            "another dashboard may be open (`ss -ltnp 'sport = :{}'` tells); `--listen 127.0.0.1:0` takes a free port",
            address.port()
        )),
        io::ErrorKind::PermissionDenied => failure.hint("take a port from 1024 up"),
        _ => failure.hint("`--listen 127.0.0.1:0` takes a free port"),
    }
}

/// What ends it: signals, and the end of what it was started from.
struct End {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    left: oneshot::Receiver<()>,
}

impl End {
    fn heard() -> Result<Self, Failure> {
        let hear =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")));
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
            hang_up: hear(SignalKind::hangup())?,
            left: left_alone(),
        })
    }

    async fn comes(&mut self) -> Result<(), Failure> {
        tokio::select! {
            _ = self.interrupt.recv() => Err(Failure { exit: Exit::Interrupted, ..Failure::told() }),
            _ = self.terminate.recv() => Ok(()),
            _ = self.hang_up.recv() => Ok(()),
            Ok(()) = &mut self.left => Ok(()),
        }
    }
}

/// Resolves when whoever holds the other end of standard input has gone. An SSH connection without a terminal (no `-t`)
/// ends like that and with no signal. Where there is no other end, as with `/dev/null`, it never does.
fn left_alone() -> oneshot::Receiver<()> {
    let (gone, left) = oneshot::channel();
    let watched = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let Ok(mut input) = watched else { return left };
    let held = input.metadata().is_ok_and(|data| data.file_type().is_fifo() || data.file_type().is_socket());
    if held {
        // A thread that ends with the process: a read of standard input cannot be taken back.
        std::thread::spawn(move || {
            let mut ignored = [0; 256];
            while input.read(&mut ignored).is_ok_and(|length| length > 0) {}
            let _ended = gone.send(());
        });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_taken_in_every_way_to_write_it_and_nothing_else_is() {
        for (text, want) in [
            ("127.0.0.1:7070", "127.0.0.1:7070"),
            ("127.8.9.1:1", "127.8.9.1:1"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:7070", "[::1]:7070"),
        ] {
            assert_eq!(loopback(text).unwrap().to_string(), want);
        }
        for (text, word) in [
            ("0.0.0.0:7070", "strangers"),
            ("[::]:7070", "strangers"),
            ("192.0.2.1:7070", "strangers"),
            ("[::ffff:127.0.0.1]:7070", "strangers"),
            ("7070", "no address"),
            ("vps:7070", "no address"),
            ("127.0.0.1", "no address"),
        ] {
            let failure = loopback(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(word) && failure.hint.is_some(), "{text}: {failure}");
        }
    }
}
