//! An authority that wants a certificate renewed early (RFC 9773). The pebble there is has no such thing, so its
//! directory is served from beside it with one more entry; everything else is asked of pebble itself.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use jiff::{Timestamp, ToSpan};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};

use crate::pebble::Pebble;

/// The directory and the renewal information of an authority.
pub(crate) struct RenewalInfo {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl RenewalInfo {
    /// Serve them until the test ends: the first certificate that is asked about is to be renewed at once, all others in
    /// a month.
    pub(crate) fn beside(pebble: &Pebble) -> Self {
        let [chain, key] = pebble.identity();
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut directory = pebble.directory();
        directory["renewalInfo"] = format!("https://localhost:{}/renewal", address.port()).into();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (config, heard) = (Arc::new(config), asked.clone());
        // It ends with the process: it holds nothing but its listener.
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                // A client that leaves early is its own business.
                let _left = tcp.and_then(|tcp| serve(tcp, config.clone(), &directory, &heard));
            }
        });
        Self { address, asked }
    }

    /// What `tls.acme.directory` is then.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// The certificates that were asked about, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    directory: &Value,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, tcp);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/renewal/") {
        Some(id) => {
            let mut asked = asked.lock().unwrap();
            let first = asked.first().is_none_or(|first| first == id);
            asked.push(id.to_owned());
            let (now, month) = (Timestamp::now(), (30 * 24).hours());
            let (start, end) = if first { (now - 1.hours(), now) } else { (now + month, now + month) };
            json!({ "suggestedWindow": { "start": start, "end": end } })
        }
        None => directory.clone(),
    };
    let body = body.to_string();
    let length = body.len();
    write!(
        tls,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nretry-after: 60\r\n\
         connection: close\r\n\r\n{body}"
    )?;
    tls.conn.send_close_notify();
    tls.flush()
}
