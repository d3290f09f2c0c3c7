//! The command that makes a release ready to run, such as `npm ci`: in its directory, with its environment. It must
//! never run without an end.

use std::{collections::VecDeque, pin::pin, sync::Mutex, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::{
    BackendError,
    child::{Child, Program},
    confinement::Confinement,
    environment::{Place, environment, says_home},
    generation::Generation,
    node::NodeStatus,
    output::Lines,
    process::{LAST_LINES, Stage, describe},
    quarters::Quarters,
    readers::LAST_WORDS,
    releases::UNFINISHED,
};

/// Longer lines of its output are cut into several.
const LINE_BYTES_MAX: usize = 4096;

/// Run it to its end.
pub(super) async fn install(
    stage: &Stage,
    generation: &Generation,
    command: &str,
) -> Result<(), BackendError> {
    let failed =
        |reason: String, lines| BackendError::Install { backend: stage.backend.clone(), reason, lines };
    let worker = format!("{}/install", stage.backend);
    let identity = generation.identity.as_ref();
    let unready =
        |error: std::io::Error| failed(format!("its directory cannot be made: {error}"), Vec::new());
    // On the releases' disk: what npm caches may be more than fits into the runtime directory's memory.
    let rooms = generation.directory.with_extension(UNFINISHED);
    let quarters = Quarters::make(rooms, identity, &stage.launcher).map_err(unready)?;
    let temporary = quarters.temporary();
    let node = generation.node.as_ref().and_then(NodeStatus::leading);
    let place = Place { port: "".into(), instance: 0, worker: &worker, temporary, identity, node };
    let configured = [&generation.env_file.0, &generation.config.env];
    let program = Program {
        command: ["sh", "-c", command].map(str::to_owned).into(),
        // No sandbox: it fetches, builds and writes where the workers only read. It is the workers' user all the same.
        confinement: Confinement {
            directory: generation.directory.clone(),
            quarters: Some(quarters.directory().to_owned()),
            identity: generation.identity.clone(),
            // Where accounts of services have their homes is often nothing, and npm keeps its cache there.
            spare_home: (!says_home(configured)).then(|| quarters.temporary()),
            ..Confinement::default()
        },
        environment: environment(&stage.base_env, configured, &stage.extra_env, place),
        launcher: stage.launcher.clone(),
        channel: None,
    };
    let _node = stage.nodes.hold(generation.node.as_ref());
    let spawned = Child::spawn(&program).await;
    let mut child =
        spawned.map_err(|error| failed(format!("it could not be started: {error}"), Vec::new()))?;
    tracing::info!(backend = stage.backend, command, "install command started");
    let (stdout, stderr) = child.output();
    let last = Mutex::new(VecDeque::new());
    let timeout = generation.config.install_timeout;
    let outcome = {
        let mut reading = pin!(async { tokio::join!(read(stdout, &last), read(stderr, &last)) });
        let work = async {
            let mut read = false;
            let status = loop {
                tokio::select! {
                    status = child.exited() => break status,
                    _ = &mut reading, if !read => read = true,
                }
            };
            // What it has left behind (the daemons of some build tools) may hold the pipe for ever.
            if !read {
                drop(tokio::time::timeout(LAST_WORDS, reading).await);
            }
            status
        };
        tokio::time::timeout(timeout, work).await
    };
    if outcome.is_err() {
        // Whom it has put into groups of their own as well: only while it lives can they be found.
        child.find_strays().await;
        child.killed_after(Duration::ZERO).await;
    }
    quarters.leave().await;
    let lines = last.into_inner().unwrap_or_default().into();
    match outcome {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(status) => Err(failed(describe(&status), lines)),
        Err(_) => {
            let reason =
                format!("it did not end within {} (install_timeout)", humantime::format_duration(timeout));
            Err(failed(reason, lines))
        }
    }
}

/// Keep the last lines.
async fn read(pipe: Option<impl AsyncRead + Unpin>, last: &Mutex<VecDeque<String>>) {
    let Some(mut pipe) = pipe else { return };
    let keep = |line: &[u8]| {
        if let Ok(mut last) = last.lock() {
            last.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
            if last.len() > LAST_LINES {
                last.pop_front();
            }
        }
    };
    let (mut lines, mut bytes) = (Lines::new(LINE_BYTES_MAX), vec![0; 4096]);
    while let Ok(length @ 1..) = pipe.read(&mut bytes).await {
        lines.feed(&bytes[..length], keep);
    }
    lines.finish(keep);
}
