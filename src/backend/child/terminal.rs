//! A program on the operator's terminal, who may be root, as another user, who must not type for him: in a session of its
//! own, on a terminal of its own. What it writes there is shown on the operator's, what he types there is handed on, Ctrl-C
//! with it. It must never hold the operator's terminal itself: it could put words into his mouth (TIOCSTI) or go on
//! reading what he types when it should have ended.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    process::{ExitStatus, Stdio},
    task::Poll,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    libc,
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::Signal,
        termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
    },
    unistd::{self, Pid},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal as Signals, SignalKind, signal},
    sync::mpsc,
};

use super::{
    super::{
        hands::{self, Target},
        worker_exec::SESSION_VARIABLE,
    },
    Program, command,
};

/// Typed ahead: more is not read from the operator's terminal before it has been taken.
const TYPED_WAITING_MAX: usize = 8;

/// What is handed on at a time; a terminal keeps no more itself.
const CHUNK_BYTES: usize = 4096;

/// The last words are in the kernel's hands for a moment when who said them has ended; longer only if somebody whom it
/// left behind has the terminal still.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What is passed on to it: it has a session of its own, to which no terminal and no shell of ours says anything.
const PASSED_ON: [(SignalKind, Signal); 4] = [
    (SignalKind::interrupt(), Signal::SIGINT),
    (SignalKind::terminate(), Signal::SIGTERM),
    (SignalKind::hangup(), Signal::SIGHUP),
    (SignalKind::quit(), Signal::SIGQUIT),
];

/// Run a program to its end, by the launcher, on our own standard streams; where these are a terminal it has another in
/// its place. Call it on the thread that lives as long as the process.
pub(in crate::backend) async fn attend(program: &Program) -> io::Result<ExitStatus> {
    // Before the child is there: who asks us to end then must not end us alone.
    let (mut signals, mut resized) = (Passing::listen()?, signal(SignalKind::window_change())?);
    let (mut child, mut screen) = start(program)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            signal = signals.next() => pass_on(pid, signal),
            _ = resized.recv() => if let Some(screen) = &screen { screen.resize() },
            shown = Screen::work(&mut screen) => if shown.is_err() { screen = None },
        }
    };
    while screen.is_some() {
        let shown = tokio::time::timeout(LAST_WORDS, Screen::work(&mut screen)).await;
        if !matches!(shown, Ok(Ok(()))) {
            break;
        }
    }
    status
}

fn start(program: &Program) -> io::Result<(tokio::process::Child, Option<Screen>)> {
    let mut command = command(program);
    command.env(SESSION_VARIABLE, "1");
    let ours = [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    if ours == [false; 3] {
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        return Ok((command.spawn()?, None));
    }
    let (screen, theirs) = Screen::open(ours)?;
    let stream = |ours: bool| {
        Ok::<_, io::Error>(if ours { Stdio::from(theirs.try_clone()?) } else { Stdio::inherit() })
    };
    command.stdin(stream(ours[0])?).stdout(stream(ours[1])?).stderr(stream(ours[2])?);
    // With this function ends what we have of its side: when the last process has let go of it, we see the end.
    Ok((command.spawn()?, Some(screen)))
}

fn pass_on(pid: Option<Pid>, signal: Signal) {
    let Some(pid) = pid else { return };
    // It becomes the leader of a group a moment after its start. Both fail only when it has just ended.
    if hands::signal(Target::Group(pid), signal).is_err() {
        let _gone = hands::signal(Target::Process(pid), signal);
    }
}

/// The signals that are passed on.
struct Passing(Vec<(Signals, Signal)>);

impl Passing {
    fn listen() -> io::Result<Self> {
        let listen = |(kind, one): &(SignalKind, Signal)| Ok((signal(*kind)?, *one));
        PASSED_ON.iter().map(listen).collect::<io::Result<_>>().map(Self)
    }

    /// Cancel safe.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let mut all = self.0.iter_mut();
            let came = all.find_map(|(signals, one)| signals.poll_recv(context).is_ready().then_some(*one));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Its terminal, seen from our side.
struct Screen {
    its: AsyncFd<OwnedFd>,
    /// One of ours, by whose size it goes.
    ours: OwnedFd,
    /// Where it is shown.
    shown: File,
    /// What the operator types; none where we have no terminal to read from.
    typed: Option<mpsc::Receiver<Vec<u8>>>,
    /// Taken, and not handed on yet.
    pending: Vec<u8>,
    _raw: Option<Raw>,
}

impl Screen {
    /// A terminal like ours, and its end of it.
    fn open(ours: [bool; 3]) -> io::Result<(Self, OwnedFd)> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let of = |at: usize| streams[at].try_clone_to_owned();
        let one = of(ours.iter().position(|ours| *ours).unwrap_or_default())?;
        // Who is in the background and reads, or changes the terminal, is halted.
        let reads = ours[0] && unistd::tcgetpgrp(streams[0]).is_ok_and(|group| group == unistd::getpgrp());
        // Otherwise others write to ours as well, such as the next of a pipeline, and it has to end their lines.
        let alone = reads && ours == [true; 3];
        let mut manners = tcgetattr(&one)?;
        if !alone {
            manners.output_flags.remove(OutputFlags::OPOST);
        }
        let size = size_of(one.as_fd());
        let OpenptyResult { master, slave } = openpty(size.as_ref(), Some(&manners))?;
        for side in [&master, &slave] {
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let raw = reads.then(|| Raw::set(of(0)?, alone)).transpose()?;
        let screen = Self {
            its: registered(master)?,
            shown: File::from(of(if ours[1] || !ours[2] { 1 } else { 2 })?),
            typed: reads.then(|| typed(of(0)?)).transpose()?,
            ours: one,
            pending: Vec::new(),
            _raw: raw,
        };
        Ok((screen, slave))
    }

    /// Hand on one piece, either way; an error when nobody has the other side any more. Cancel safe.
    async fn work(screen: &mut Option<Self>) -> io::Result<()> {
        let Some(Self { its, shown, typed, pending, .. }) = screen else {
            return std::future::pending().await;
        };
        let mut chunk = [0; CHUNK_BYTES];
        let keys = async {
            match typed.as_mut().filter(|_| pending.is_empty()) {
                Some(typed) => typed.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            keys = keys => match keys {
                Some(keys) => *pending = keys,
                None => *typed = None,
            },
            written = its.async_io(Interest::WRITABLE, |its| Ok(unistd::write(its, pending)?)),
                if !pending.is_empty() => drop(pending.drain(..written?)),
            read = its.async_io(Interest::READABLE, |its| Ok(unistd::read(its, &mut chunk)?)) => match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => shown.write_all(&chunk[..length])?,
            },
        }
        Ok(())
    }

    fn resize(&self) {
        if let Some(size) = size_of(self.ours.as_fd()) {
            size_is(self.its.get_ref().as_fd(), size);
        }
    }
}

#[expect(unsafe_code, reason = "the safe way to register a descriptor is given up for this one")]
fn registered(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it is one and the same, and open, as long as its owner lives, who is never lent for change.
    unsafe { AsyncFd::register(descriptor) }.map_err(Into::into)
}

/// What is typed, by a thread of its own: a terminal that is told not to block does not block others either, such as the
/// shell that we came from.
fn typed(terminal: OwnedFd) -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, typed) = mpsc::channel(TYPED_WAITING_MAX);
    let mut terminal = File::from(terminal);
    let read = move || {
        let mut chunk = [0; CHUNK_BYTES];
        while let Ok(length @ 1..) = terminal.read(&mut chunk) {
            if sender.blocking_send(chunk[..length].to_vec()).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("gateway-typed".to_owned()).spawn(read)?;
    Ok(typed)
}

/// Our terminal, which leaves everything to the other one until this is dropped: Ctrl-C is a character like any other.
struct Raw(OwnedFd, Termios);

impl Raw {
    fn set(terminal: OwnedFd, alone: bool) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if !alone {
            raw.output_flags = before.output_flags;
        }
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(Self(terminal, before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let _gone = tcsetattr(&self.0, SetArg::TCSADRAIN, &self.1);
    }
}

fn size_of(terminal: BorrowedFd<'_>) -> Option<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    window(terminal, libc::TIOCGWINSZ, &mut size).ok().map(|()| size)
}

fn size_is(terminal: BorrowedFd<'_>, mut size: Winsize) {
    // It stays as large as it was.
    let _unchanged = window(terminal, libc::TIOCSWINSZ, &mut size);
}

#[expect(unsafe_code, reason = "what we build of the crates that wrap ioctl(2) knows neither of the two")]
fn window(terminal: BorrowedFd<'_>, order: libc::Ioctl, size: &mut Winsize) -> nix::Result<()> {
    // SAFETY: both orders take a pointer to this structure, which is ours alone as long as the call takes.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), order, std::ptr::from_mut(size)) };
    Errno::result(outcome).map(drop)
}
